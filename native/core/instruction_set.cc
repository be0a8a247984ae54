#include "core/instruction_set.h"

#include "kernels/dispatch.h"

namespace longvlm {

std::string InstructionSetInUse() { return std::string(ActiveKernels().name); }

void LimitInstructionSet(const std::string& name) { SetMaxInstructionSet(name); }

}  // namespace longvlm
