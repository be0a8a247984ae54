// Cancellable work on another thread, which settles a promise.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "bind/environment_work.h"
#include "napi/napi_setup.h"

namespace longvlm {

// { promise, cancel }: what to do about work in progress. cancel() may be called several times,
// also after the end.
Napi::Object ToTask(Napi::Env env, const Napi::Promise& promise, std::function<void()> cancel);

// Which threads do a task: those that compute, or those that wait for something else.
using Threads = ThreadPool& (EnvironmentWork::*)();

// Starts `run` on one of the threads, when it is its turn, and returns its NativeTask, without a
// value. `run` must access plain data only, and throw Cancelled soon after its flag is set. The
// objects of `kept`, such as typed arrays that `run` reads or writes, stay alive until it is done,
// and so does their memory.
//
// `callee` is the name of the JavaScript function for messages; must be a string literal.
Napi::Object StartTask(Napi::Env env, const char* callee, Threads threads,
                       const std::vector<Napi::Object>& kept,
                       std::function<void(const std::atomic<bool>& cancelled)> run);

}  // namespace longvlm
