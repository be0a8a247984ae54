#include "golden.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace longvlm {
namespace {

// A file: 8 bytes with the length of the header, the header in JSON, then the tensors.
class Safetensors {
 public:
  explicit Safetensors(const std::filesystem::path& path) : name_(path.string()) {
    std::ifstream stream(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    uint64_t length = 0;
    if (bytes.size() < sizeof(length)) Fail("is too short");
    std::memcpy(&length, bytes.data(), sizeof(length));
    if (length > bytes.size() - sizeof(length)) Fail("is too short");
    header_ = bytes.substr(sizeof(length), length);
    data_ = bytes.substr(sizeof(length) + length);
  }

  std::vector<size_t> Shape(const std::string& tensor) const {
    return Numbers(After(After(0, '"' + tensor + '"'), "\"shape\":"));
  }

  template <typename T>
  std::vector<T> Read(const std::string& tensor, const char* type) const {
    const size_t entry = After(0, '"' + tensor + '"');
    if (header_.compare(After(entry, "\"dtype\":\""), std::strlen(type), type) != 0) {
      Fail("holds " + tensor + " of another type");
    }
    const std::vector<size_t> range = Numbers(After(entry, "\"data_offsets\":"));
    if (range.size() != 2 || range[0] > range[1] || range[1] > data_.size()) Fail("is too short");
    std::vector<T> values((range[1] - range[0]) / sizeof(T));
    std::memcpy(values.data(), data_.data() + range[0], values.size() * sizeof(T));
    return values;
  }

  // A number or a list of numbers of the metadata, which are strings.
  std::vector<size_t> Metadata(const std::string& key) const {
    return Numbers(After(0, '"' + key + "\":\""));
  }

 private:
  [[noreturn]] void Fail(const std::string& problem) const {
    throw std::runtime_error(name_ + " " + problem);
  }

  // Where `text` ends, looking from `from` on; blanks are not significant.
  size_t After(size_t from, const std::string& text) const {
    const size_t at = header_.find(text, from);
    if (at == std::string::npos) Fail("has no " + text);
    return at + text.size();
  }

  // The list of numbers that begins at `at`, or the one number.
  std::vector<size_t> Numbers(size_t at) const {
    std::vector<size_t> numbers;
    const size_t end = header_.find_first_of("]\"}", at);
    while (true) {
      at = header_.find_first_of("0123456789", at);
      if (at == std::string::npos || at >= end) return numbers;
      size_t used = 0;
      numbers.push_back(std::stoull(header_.substr(at), &used));
      at += used;
    }
  }

  std::string name_;
  std::string header_;
  std::string data_;
};

Golden ReadOne(const std::filesystem::path& path) {
  const Safetensors file(path);
  const std::vector<size_t> shape = file.Shape("tokens");
  const std::vector<size_t> schedule = file.Metadata("schedule");
  return {.name = path.stem().string(),
          .segments = shape.at(0),
          .tokens = shape.at(1),
          .channels = shape.at(2),
          .kept = file.Shape("merged").at(1),
          .heads = file.Metadata("heads").at(0),
          .schedule = {schedule.begin(), schedule.end()},
          .input = file.Read<float>("tokens", "F32"),
          .merged = file.Read<float>("merged", "F32"),
          .sizes = file.Read<float>("sizes", "F32"),
          .assignment = file.Read<int32_t>("assignment", "I32")};
}

}  // namespace

std::vector<Golden> ReadGolden(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  }
  if (paths.empty()) throw std::runtime_error(folder + " holds no .safetensors");
  std::ranges::sort(paths);
  std::vector<Golden> all;
  for (const std::filesystem::path& path : paths) all.push_back(ReadOne(path));
  return all;
}

}  // namespace longvlm
