// What both directions of the wire share: ids and inventories as fields, and the walk over a frame.
#pragma once

#include <string>
#include <vector>

#include <fmt/format.h>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/protocol/message.hpp>

#include "field_reader.hpp"
#include "json_text.hpp"

namespace orchestrator::protocol {

/// Texts that are shown and never interpreted: host names, versions, times as the peer wrote them.
inline constexpr std::size_t wire_text_bytes = 1024;
inline constexpr std::size_t wire_name_bytes = 256;
inline constexpr std::size_t wire_features = 32;

inline std::string_view view(const json::string& s) { return {s.data(), s.size()}; }

std::optional<std::uint64_t> read_counter(field_reader& r, std::string_view key, std::int64_t lowest = 0);
std::optional<int> read_int(field_reader& r, std::string_view key, int lowest, int highest);
std::optional<job_ref> read_job_ref(field_reader& r);
/// An identity that people see and type: 1 to 128 printable ASCII characters, no slash, no leading dot.
std::string read_worker_id(field_reader& r);
std::vector<lease_ref> read_lease_refs(field_reader& r, std::string_view key);
std::vector<std::string> read_features(field_reader& r);

void write_job_ref(object_writer& w, const job_ref& id);
void write_lease_refs(object_writer& w, std::string_view key, const std::vector<lease_ref>& refs);
void write_texts(object_writer& w, std::string_view key, const std::vector<std::string>& texts);
void write_map(object_writer& w, std::string_view key, const std::map<std::string, std::string>& map);

template <class T>
void write_optional(object_writer& w, std::string_view key, const std::optional<T>& number) {
  if (number) w.number(key, *number);
}
inline void write_optional(object_writer& w, std::string_view key, const std::optional<lease_id>& lease) {
  if (lease) w.number(key, lease->value);
}
inline void write_optional(object_writer& w, std::string_view key, const std::optional<uuid>& id) {
  if (id) w.word(key, to_string(*id));
}
inline void write_unless_empty(object_writer& w, std::string_view key, std::string_view text) {
  if (!text.empty()) w.text(key, text);
}

/// The member `type` if `v` is a message at all: an object with that as a non-empty string.
const json::string* type_of(const json::value& v);
refusal not_a_message(std::string detail);

/// Reads `text` and hands each message's object and type to `decode_one`, which appends to the vector it is
/// given.
template <class Message, class DecodeOne>
result<std::vector<Message>> decode_frame(std::string_view text, bool batch_allowed, DecodeOne decode_one) {
  json_arena arena;
  const auto document = arena.read(text, nul_rule::keep);
  if (!document) return document.error();
  std::vector<Message> messages;
  const json::array* batch = batch_allowed ? document->if_array() : nullptr;
  if (batch == nullptr) {
    const json::string* type = type_of(*document);
    if (type == nullptr) return not_a_message("the frame is not an object with a string \"type\"");
    decode_one(document->get_object(), view(*type), messages);
    return messages;
  }
  if (batch->empty() || batch->size() > limits::batch_messages) {
    return not_a_message(
        fmt::format("a batch of {} messages; 1 to {} are taken", batch->size(), limits::batch_messages));
  }
  messages.reserve(batch->size());
  for (const json::value& item : *batch) {
    const json::string* type = type_of(item);
    if (type == nullptr) {
      return not_a_message(
          fmt::format("item {} of the batch is not an object with a string \"type\"", messages.size()));
    }
    decode_one(item.get_object(), view(*type), messages);
  }
  return messages;
}

/// Reads the `seq` that both directions' messages may have. Acks and errors have one of another meaning.
std::optional<std::uint64_t> read_seq(field_reader& r);

/// What stands in place of a message of type `type` in whose fields `r` found a fault.
invalid_message invalid(const json::object& o, std::string_view type, const refusal& why);
unknown_message unknown(const json::object& o, std::string_view type);

/// The fields of the messages that are also records by themselves.
job_result read_job_result(field_reader& r);
execute_job read_execute_job(field_reader& r);
void write_job_result(const job_result& m, object_writer& w);
void write_execute_job(const execute_job& m, object_writer& w);

}  // namespace orchestrator::protocol
