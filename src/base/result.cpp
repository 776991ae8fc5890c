// The words for refusal codes, and what happens when somebody takes the value out of a refusal.
#include <cstdio>
#include <cstdlib>

#include <orchestrator/base/result.hpp>

namespace orchestrator {

const char* to_string(errc code) {
  switch (code) {
    case errc::bad_json: return "bad_json";
    case errc::bad_field: return "bad_field";
    case errc::unknown_field: return "unknown_field";
    case errc::not_found: return "not_found";
    case errc::conflict: return "conflict";
    case errc::precondition: return "precondition";
    case errc::key_reused: return "key_reused";
    case errc::limit: return "limit";
    case errc::no_space: return "no_space";
    case errc::unavailable: return "unavailable";
    case errc::unauthorised: return "unauthorised";
    case errc::forbidden: return "forbidden";
    case errc::too_large: return "too_large";
    case errc::unsupported: return "unsupported";
  }
  return "invalid";
}

void throw_exception_from_error(const refusal& r, const boost::source_location& where) {
  std::fprintf(stderr, "[ERROR] check failed: value() of a refusal (%s:%lu): %s: %s\n", where.file_name(),
               static_cast<unsigned long>(where.line()), to_string(r.code), r.detail.c_str());
  std::abort();
}

}  // namespace orchestrator
