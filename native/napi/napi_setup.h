// The only file that includes napi.h, so that what configures it always comes first.
#pragma once

// A worker thread that is being terminated can throw nothing any more: let go instead of aborting
// the process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS

#include <napi.h>
