#include "bind/native_task.h"

#include <memory>
#include <utility>

#include "bind/addon_state.h"

namespace longvlm {

Napi::Object ToTask(Napi::Env env, const Napi::Promise& promise, std::function<void()> cancel) {
  Napi::Object task = Napi::Object::New(env);
  task.Set("promise", promise);
  task.Set("cancel", Napi::Function::New(env, [cancel = std::move(cancel)](
                                                  const Napi::CallbackInfo&) { cancel(); }));
  return task;
}

Napi::Object StartTask(Napi::Env env, const char* callee, Threads threads,
                       const std::vector<Napi::Object>& kept,
                       std::function<void(const std::atomic<bool>& cancelled)> run) {
  EnvironmentWork& work = AddonState::Work(env);
  ThreadPool& pool = (work.*threads)();
  auto [promise, settle] = work.settler().Expect(callee, kept);
  auto task = std::make_shared<Task>();
  task->run = std::move(run);
  task->done = std::move(settle);
  task->owner = &work;
  pool.Start(task);
  return ToTask(env, promise, [&pool, task = std::move(task)] { pool.Cancel(task); });
}

}  // namespace longvlm
