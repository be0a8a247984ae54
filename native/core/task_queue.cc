#include "core/task_queue.h"

#include <algorithm>
#include <utility>

namespace longvlm {

void TaskQueue::Add(std::shared_ptr<Task> task) {
  const void* owner = task->owner;
  auto found = std::ranges::find(owners_, owner, &Waiting::owner);
  if (found == owners_.end()) found = owners_.insert(found, Waiting{owner, {}});
  found->tasks.push_back(std::move(task));
  ++size_;
}

std::shared_ptr<Task> TaskQueue::Next() {
  if (owners_.empty()) return nullptr;
  Waiting& first = owners_.front();
  std::shared_ptr<Task> task = std::move(first.tasks.front());
  first.tasks.pop_front();
  --size_;
  if (first.tasks.empty()) {
    owners_.pop_front();
  } else {
    owners_.splice(owners_.end(), owners_, owners_.begin());
  }
  return task;
}

bool TaskQueue::Remove(const std::shared_ptr<Task>& task) {
  const auto found = std::ranges::find(owners_, task->owner, &Waiting::owner);
  if (found == owners_.end() || std::erase(found->tasks, task) == 0) return false;
  --size_;
  if (found->tasks.empty()) owners_.erase(found);
  return true;
}

std::deque<std::shared_ptr<Task>> TaskQueue::RemoveAll(const void* owner) {
  std::deque<std::shared_ptr<Task>> removed;
  std::erase_if(owners_, [&](Waiting& waiting) {
    if (owner != nullptr && waiting.owner != owner) return false;
    removed.insert(removed.end(), waiting.tasks.begin(), waiting.tasks.end());
    return true;
  });
  size_ -= removed.size();
  return removed;
}

}  // namespace longvlm
