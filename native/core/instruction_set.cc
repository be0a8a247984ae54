#include "core/instruction_set.h"

#include "kernels/dispatch.h"

namespace longvlm {

std::string InstructionSetInUse() { return std::string(ActiveKernels().name); }

std::vector<std::string> KnownInstructionSets() {
  const std::vector<std::string_view> names = InstructionSets();
  return {names.begin(), names.end()};
}

void LimitInstructionSet(const std::string& name) { SetMaxInstructionSet(name); }

}  // namespace longvlm
