// Small JSON objects for the data of facts. Written by hand because every run makes a few of them: a document
// tree would cost more than the decision it records.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#include <orchestrator/base/ids.hpp>

namespace orchestrator::engine {

class fact_data {
 public:
  fact_data& add(std::string_view key, std::string_view value);
  fact_data& add(std::string_view key, const char* value) { return add(key, std::string_view(value)); }
  fact_data& add(std::string_view key, bool value);
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  fact_data& add(std::string_view key, T value) {
    start(key);
    text_ += std::to_string(value);
    return *this;
  }
  fact_data& add(std::string_view key, lease_id lease) { return add(key, lease.value); }
  /// Leaves the key out when there is nothing to say.
  fact_data& add_if(std::string_view key, std::string_view value) {
    return value.empty() ? *this : add(key, value);
  }
  std::string take() {
    text_ += '}';
    return std::move(text_);
  }

 private:
  void start(std::string_view key);
  std::string text_ = "{";
};

}  // namespace orchestrator::engine
