// Fields that messages of both directions have: ids, inventories, sequence numbers.
#include <algorithm>

#include <orchestrator/base/text.hpp>

#include "codec_parts.hpp"

namespace orchestrator::protocol {
namespace {

constexpr std::size_t id_bytes = 128;
constexpr std::size_t unknown_type_bytes = 128;

// Ids appear in paths, URLs, tables and log lines of every peer, so they are kept to what is safe in all of
// them.
const char* fault_of_worker_id(std::string_view id) {
  if (id.empty()) return "is empty";
  if (id.front() == '.') return "starts with a dot";
  const auto refused = [](char c) { return c < 0x20 || c > 0x7e || c == '/' || c == '\\'; };
  if (std::any_of(id.begin(), id.end(), refused))
    return "may only have printable ASCII characters and no slash";
  return nullptr;
}

std::string own_worker_id(const json::object& o) {
  field_reader r{o, dialect::wire};
  const auto id = r.text("worker_id", id_bytes);
  return id && fault_of_worker_id(*id) == nullptr ? *id : std::string{};
}

}  // namespace

std::optional<std::uint64_t> read_counter(field_reader& r, std::string_view key, std::int64_t lowest) {
  const auto i = r.integer(key, lowest, largest_integer);
  if (!i) return std::nullopt;
  return static_cast<std::uint64_t>(*i);
}

std::optional<int> read_int(field_reader& r, std::string_view key, int lowest, int highest) {
  const auto i = r.integer(key, lowest, highest);
  if (!i) return std::nullopt;
  return static_cast<int>(*i);
}

std::optional<job_ref> read_job_ref(field_reader& r) {
  const json::value* v = r.find("job_id");
  if (v == nullptr) return std::nullopt;
  if (const std::int64_t* number = v->if_int64()) return job_ref{*number};
  if (const json::string* text = v->if_string()) {
    if (text->size() <= wire_name_bytes && view(*text).find('\0') == std::string_view::npos) {
      return job_ref{std::string{view(*text)}};
    }
  }
  r.refuse("job_id", fmt::format("must be a string of at most {} bytes or a whole number", wire_name_bytes));
  return std::nullopt;
}

std::string read_worker_id(field_reader& r) {
  std::string id = r.required("worker_id", r.text("worker_id", id_bytes));
  if (r.why()) return id;
  if (const char* fault = fault_of_worker_id(id)) r.refuse("worker_id", fault);
  return id;
}

std::vector<lease_ref> read_lease_refs(field_reader& r, std::string_view key) {
  std::vector<lease_ref> refs;
  const json::array* items = r.array(key, limits::inventory_leases);
  if (items == nullptr) return refs;
  refs.reserve(items->size());
  for (const json::value& item : *items) {
    const std::string path = fmt::format("{}/{}", r.pointer(key), refs.size());
    const json::object* o = item.if_object();
    if (o == nullptr) {
      r.refuse(bad_field(path, fmt::format("item {} of {} must be an object", refs.size(), key)));
      return refs;
    }
    field_reader part{*o, dialect::wire, path};
    refs.push_back(
        {part.required("job_id", read_job_ref(part)), part.required("lease", part.lease("lease"))});
    if (part.why()) {
      r.refuse(*part.why());
      return refs;
    }
  }
  return refs;
}

std::vector<std::string> read_features(field_reader& r) {
  return r.text_list("features", wire_features, wire_name_bytes).value_or(std::vector<std::string>{});
}

void write_job_ref(object_writer& w, const job_ref& id) {
  if (const auto* text = std::get_if<std::string>(&id.id)) {
    w.text("job_id", *text);
  } else {
    w.number("job_id", std::get<std::int64_t>(id.id));
  }
}

void write_lease_refs(object_writer& w, std::string_view key, const std::vector<lease_ref>& refs) {
  std::string& out = w.key(key);
  out += '[';
  for (std::size_t i = 0; i < refs.size(); ++i) {
    if (i != 0) out += ',';
    object_writer item{out};
    write_job_ref(item, refs[i].job_id);
    item.number("lease", refs[i].lease.value);
    item.close();
  }
  out += ']';
}

void write_texts(object_writer& w, std::string_view key, const std::vector<std::string>& texts) {
  std::string& out = w.key(key);
  out += '[';
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i != 0) out += ',';
    append_string(out, texts[i]);
  }
  out += ']';
}

void write_map(object_writer& w, std::string_view key, const std::map<std::string, std::string>& map) {
  object_writer members{w.key(key)};
  for (const auto& [name, value] : map) append_string(members.any_key(name), value);
  members.close();
}

const json::string* type_of(const json::value& v) {
  const json::object* o = v.if_object();
  if (o == nullptr) return nullptr;
  const json::value* type = o->if_contains("type");
  if (type == nullptr || !type->is_string() || type->get_string().empty()) return nullptr;
  return &type->get_string();
}

refusal not_a_message(std::string detail) {
  return {.code = errc::bad_json, .detail = std::move(detail), .pointer = {}, .hint = {}};
}

std::optional<std::uint64_t> read_seq(field_reader& r) { return read_counter(r, "seq", 1); }

invalid_message invalid(const json::object& o, std::string_view type, const refusal& why) {
  return {.type = std::string{type}, .worker_id = own_worker_id(o), .why = why};
}

unknown_message unknown(const json::object& o, std::string_view type) {
  return {.type = printable(type, unknown_type_bytes), .worker_id = own_worker_id(o)};
}

}  // namespace orchestrator::protocol
