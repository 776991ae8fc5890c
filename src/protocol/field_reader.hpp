// Typed access to the members of one JSON object. The first fault is kept with its JSON pointer, later reads
// go on harmlessly, and the decoder asks once, at its end. Used by the frame decoders and the definition
// decoders.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/base/result.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator::protocol {

namespace json = boost::json;

/// Who wrote the object.
enum class dialect {
  wire,        ///< a peer, maybe an old one: null means absent
  definition,  ///< a person or their tool: null is a value of the wrong type
};

inline constexpr std::int64_t largest_integer = std::numeric_limits<std::int64_t>::max();

/// Bounds of a map of texts. `bytes` counts names and values of all members.
struct map_bounds {
  std::size_t items;
  std::size_t item_bytes;
  std::size_t bytes;
};

/// The reason why nothing may contain what `text` contains, or nullptr.
const char* fault_of_text(std::string_view text);
/// `*` for `/` and `~` as a JSON pointer writes them.
std::string pointer_token(std::string_view key);
refusal bad_field(std::string pointer, std::string detail, std::string hint = {});

class field_reader {
 public:
  field_reader(const json::object& object, dialect d, std::string path = {})
      : object_(&object), next_(object.begin()), dialect_(d), path_(std::move(path)) {}

  /// The member, or nullptr if it is absent. Members in the order of the calls are found at once.
  const json::value* find(std::string_view key);
  bool has(std::string_view key) { return find(key) != nullptr; }

  std::optional<std::string> text(std::string_view key, std::size_t max_bytes);
  /// As text, but NUL characters become U+FFFD: for what a job printed.
  std::optional<std::string> printed_text(std::string_view key);
  std::optional<bool> boolean(std::string_view key);
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t lowest, std::int64_t highest);
  std::optional<double> number(std::string_view key, double lowest = std::numeric_limits<double>::lowest());
  std::optional<uuid> id(std::string_view key);
  std::optional<lease_id> lease(std::string_view key);
  /// A text such as `30m`, or seconds as a number.
  std::optional<milliseconds> duration(std::string_view key, milliseconds lowest, milliseconds highest);
  std::optional<std::vector<std::string>> text_list(std::string_view key, std::size_t max_items,
                                                    std::size_t max_bytes);
  std::optional<std::map<std::string, std::string>> text_map(std::string_view key, const map_bounds& bounds);
  const json::object* object(std::string_view key);
  const json::array* array(std::string_view key, std::size_t max_items);
  /// The position of the member's text in `words`.
  std::optional<std::size_t> one_of(std::string_view key, std::span<const std::string_view> words);

  /// The value of a member that must be there.
  template <class T>
  T required(std::string_view key, std::optional<T> value) {
    if (value) return std::move(*value);
    refuse(key, "is missing");
    return T{};
  }

  /// Refuses a key that is not among `known`, with the nearest of them as the hint.
  void allow_only(std::span<const std::string_view> known);

  /// Keeps the fault unless there is one already. `what` continues a sentence that starts with the key.
  void refuse(std::string_view key, std::string_view what, std::string hint = {});
  /// Takes over a fault of a part.
  void refuse(refusal r) {
    if (!why_) why_ = std::move(r);
  }
  const std::optional<refusal>& why() const { return why_; }
  std::string pointer(std::string_view key) const { return path_ + '/' + pointer_token(key); }

 private:
  const json::object* object_;
  json::object::const_iterator next_;
  dialect dialect_;
  std::string path_;
  std::optional<refusal> why_;
};

}  // namespace orchestrator::protocol
