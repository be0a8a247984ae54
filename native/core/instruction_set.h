// Which kernels are in use.
#pragma once

#include <string>
#include <vector>

namespace longvlm {

// Throws std::invalid_argument when LONGVLM_MAX_ISA names no instruction set.
std::string InstructionSetInUse();

// Those that this CPU has kernels for, the plainest first.
std::vector<std::string> KnownInstructionSets();

// Uses at most `name` from the next operation on, in the whole process. Throws
// std::invalid_argument for another name.
void LimitInstructionSet(const std::string& name);

}  // namespace longvlm
