// Domain refusals: input that was understood and is not taken. Every refusal says what, why and what to do.
// I/O errors are error_codes, bugs are ORC_CHECKs; the three are never mixed.
#pragma once

#include <string>
#include <utility>

#include <boost/system/result.hpp>

namespace orchestrator {

/// Why something was refused. HTTP status, CLI exit code and wire code are each derived from it in one table.
enum class errc {
  bad_json,       ///< not JSON, or JSON outside our limits (depth, duplicate key, NUL)
  bad_field,      ///< a known field with a value outside its type or range
  unknown_field,  ///< a key nobody reads: most often a typing error
  not_found,      ///< no such job, run, worker
  conflict,       ///< the present state forbids it (delete with live runs, name taken)
  precondition,   ///< If-Match named another version than the present one
  key_reused,     ///< the idempotency key was used with another request
  limit,          ///< a documented limit would be exceeded
  no_space,       ///< the disk is full: new work is refused so that old work is not harmed
  unavailable,    ///< not now: starting, stopping, or too many waiting
  unauthorised,   ///< no or wrong credential
  forbidden,      ///< the credential does not allow it
  too_large,      ///< body or message above its limit
  unsupported,    ///< media type, protocol version or feature we do not speak
};

/// The stable word for `code` in problems, logs and wire errors, e.g. "bad_field".
const char* to_string(errc code);

/// One refusal. `detail` is a sentence for people; `pointer` is the JSON pointer of the offending value, if
/// any.
struct refusal {
  errc code = errc::bad_field;
  std::string detail;
  std::string pointer;
  std::string hint;  ///< what to do, when it is not obvious: the nearest known key, the flag to give
  bool operator==(const refusal&) const = default;
};

template <class T>
using result = boost::system::result<T, refusal>;

/// Called by boost::system::result when value() is asked of a refusal: that is a bug, so it aborts.
[[noreturn]] void throw_exception_from_error(const refusal& r, const boost::source_location& where);

}  // namespace orchestrator
