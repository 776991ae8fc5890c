// Stored texts of specifications and jobs, read once a seed: the judge, the oracles and every start meet the
// same few again and again, and what a text says depends on nothing else.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>

#include <orchestrator/protocol/definitions.hpp>

namespace orchestrator::sim {

class reading_book {
 public:
  /// Nothing if it is none.
  const run_spec* spec(const std::string& text) {
    return known(specs_, text, [&] { return protocol::decode_spec(text); });
  }
  const job_definition* job(const std::string& text) {
    return known(jobs_, text, [&] {
      const auto parsed = protocol::parse_json(text);
      return parsed ? protocol::decode_job(*parsed) : result<job_definition>(parsed.error());
    });
  }

 private:
  template <class Value>
  using texts = std::unordered_map<std::string, std::optional<Value>>;
  template <class Value, class Read>
  static const Value* known(texts<Value>& book, const std::string& text, Read read) {
    const auto [at, fresh] = book.try_emplace(text);
    if (fresh) {
      if (auto value = read()) at->second = std::move(*value);
    }
    return at->second ? &*at->second : nullptr;
  }

  texts<run_spec> specs_;
  texts<job_definition> jobs_;
};

}  // namespace orchestrator::sim
