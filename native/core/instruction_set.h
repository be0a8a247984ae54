// Queries and limits the instruction set of the kernels.
#pragma once

#include <string>
#include <vector>

namespace longvlm {

// Throws std::invalid_argument when LONGVLM_MAX_ISA names no instruction set.
std::string InstructionSetInUse();

// The instruction sets that this CPU supports and that have kernels, `portable` first.
std::vector<std::string> KnownInstructionSets();

// Limits the instruction set to `name` from the next operation on, in the whole process. Throws
// std::invalid_argument for an unknown name.
void LimitInstructionSet(const std::string& name);

}  // namespace longvlm
