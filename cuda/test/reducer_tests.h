// The reducers' parts and the reducers, against the CPU's implementation.
#pragma once

#include "device.h"

namespace reducer_tests {

void TestTemporalSimilarity(const lv::Stream& stream);
void TestAssignToAnchors(const lv::Stream& stream);
void TestSelectTopK(const lv::Stream& stream);
void TestFrameMeans(const lv::Stream& stream);
void TestSlotProducts(const lv::Stream& stream);
void TestEvs(const lv::Stream& stream);
void TestVCast(const lv::Stream& stream);
void TestDensityPeaks(const lv::Stream& stream);
void TestSelectDiverse(const lv::Stream& stream);
void TestReports(const lv::Stream& stream);
void TestSegmentFrames(const lv::Stream& stream);
void TestFlashVid(const lv::Stream& stream);
void TestVidCom2(const lv::Stream& stream);
void TestAim(const lv::Stream& stream);
void TestMethodReports(const lv::Stream& stream);

}  // namespace reducer_tests
