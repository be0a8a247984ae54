// The only file that includes napi.h, so that the macros that configure it always come first.
#pragma once

// A worker thread that is being terminated can no longer throw JavaScript exceptions: ignore them
// instead of aborting the process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS

#include <napi.h>
