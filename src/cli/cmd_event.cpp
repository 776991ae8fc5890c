// event list|follow: the coordinator's durable log of what changed.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/protocol/definitions.hpp>

#include "commands.hpp"

namespace orchestrator::cli {
namespace {

std::vector<column> columns() {
  return {cell("SEQ", "sequence"), cell("AT", "at"), cell("TYPE", "type"), cell("SUBJECT", "subject"),
          cell("DATA", "data")};
}

void print_event(const session& s, const json::object& o) {
  if (s.out.how() == format::json || s.out.how() == format::jsonl) {
    write_stdout(protocol::write_json(o) + "\n");
  } else {
    write_stdout(fmt::format("{:>6} {} {:20} {} {}\n", text_of(o, "sequence"), text_of(o, "at"),
                             text_of(o, "type"), text_of(o, "subject"), text_of(o, "data")));
  }
}

/// Reads server-sent events; when the stream is cut, waits for the coordinator and goes on behind the last
/// id.
int follow(session& s, std::optional<std::uint64_t> after) {
  std::string last_id = after ? std::to_string(*after) : "";
  while (true) {
    api_client::header_list headers = {{"Accept", "text/event-stream"}};
    if (!last_id.empty()) headers.emplace_back("Last-Event-ID", last_id);
    s.api->stream_lines("/api/v1/events", headers, [&](std::string_view line) {
      if (line.starts_with("id: ")) last_id = line.substr(4);
      if (!line.starts_with("data: ")) return true;
      const auto parsed = protocol::parse_json(line.substr(6));
      if (parsed && parsed->is_object()) print_event(s, parsed->as_object());
      return true;
    });
    s.api->call_patiently("GET", "/api/v1/version", nullptr, {}, std::chrono::seconds{60});
  }
}

}  // namespace

void add_event_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun = root.add_subcommand("event", "the durable event log: list, follow");
  noun->fallthrough();
  auto limit = std::make_shared<int>(50);
  CLI::App* list = add_verb(*noun, "list", "the newest events");
  list->add_option("--limit", *limit, "at most so many; default 50")->check(CLI::Range(1, 500));
  list->callback([limit, &chosen] {
    chosen.action = [limit](session& s) {
      const auto answer = s.api->get(fmt::format("/api/v1/events?limit={}", *limit));
      s.out.list(answer.body.at("items").as_array(), columns(), "sequence");
      return exit_ok;
    };
  });
  auto since = std::make_shared<std::optional<std::uint64_t>>();
  CLI::App* following = add_verb(*noun, "follow", "events as they happen, until Ctrl-C");
  following->add_option("--after", *since, "begin behind this sequence number")->type_name("SEQ");
  following->callback(
      [since, &chosen] { chosen.action = [since](session& s) { return follow(s, *since); }; });
}

}  // namespace orchestrator::cli
