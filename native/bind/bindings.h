// The registration functions of the files in bind/. Declare new ones here and list them in
// addon.cc.
#pragma once

#include "napi/napi_setup.h"

namespace longvlm {

void InitInstructionSet(Napi::Env env, Napi::Object exports);
void InitMergeTokens(Napi::Env env, Napi::Object exports);
void InitTokenMetric(Napi::Env env, Napi::Object exports);
void InitBipartiteSoftMatching(Napi::Env env, Napi::Object exports);
void InitPoolClsTokens(Napi::Env env, Napi::Object exports);
void InitReducers(Napi::Env env, Napi::Object exports);
void InitReducerParts(Napi::Env env, Napi::Object exports);
void InitRoundToEightBits(Napi::Env env, Napi::Object exports);
void InitDeviceBuffers(Napi::Env env, Napi::Object exports);
void InitEvaluateEmbeddings(Napi::Env env, Napi::Object exports);
void InitOrtSessions(Napi::Env env, Napi::Object exports);
void InitConcurrency(Napi::Env env, Napi::Object exports);
void InitHeldMemory(Napi::Env env, Napi::Object exports);
void InitTrimMemory(Napi::Env env, Napi::Object exports);

}  // namespace longvlm
