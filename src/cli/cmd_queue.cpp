// queue list|show|set|pause|resume.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "commands.hpp"

namespace orchestrator::cli {
namespace {

std::vector<column> row_columns() {
  return {cell("QUEUE", "name"),       cell("PAUSED", "paused"),       cell("RUNNING", "running"),
          cell("WAITING", "waiting"),  cell("AT MOST", "concurrency"), cell("RATE", "rate"),
          cell("PRIORITY", "priority")};
}

std::vector<column> detail_columns() {
  return {cell("queue", "name"),       cell("paused", "paused"),       cell("running", "running"),
          cell("waiting", "waiting"),  cell("at most", "concurrency"), cell("rate", "rate"),
          cell("priority", "priority")};
}

void add_one(CLI::App& noun, selection& chosen, const std::string& verb, const std::string& help) {
  add_verb_of_one(
      noun, chosen, verb, help, {"name", "the queue"}, [verb](session& s, const std::string& queue) {
        const std::string path = "/api/v1/queues/" + url_encode(queue);
        const auto answer = verb == "show" ? s.api->get(path) : s.api->call("POST", path + "/" + verb);
        s.out.one(answer.body.as_object(), detail_columns(), "name");
        return exit_ok;
      });
}

struct set_flags {
  std::string name, rate;
  std::optional<int> concurrency, priority;
};

int set(session& s, const set_flags& f) {
  if (f.name.empty()) throw failure{exit_usage, "queue set takes the name of a queue, not an empty one", ""};
  json::object body;
  if (f.concurrency) body["concurrency"] = *f.concurrency;
  if (f.priority) body["priority"] = *f.priority;
  if (!f.rate.empty()) body["rate"] = f.rate == "none" ? json::value() : json::value(f.rate);
  if (body.empty())
    throw failure{exit_usage, "queue set takes one of --concurrency, --rate and --priority", ""};
  const auto answer = s.api->call("PUT", "/api/v1/queues/" + url_encode(f.name), body);
  s.out.one(answer.body.as_object(), detail_columns(), "name");
  return exit_ok;
}

void add_set(CLI::App& noun, selection& chosen) {
  auto f = std::make_shared<set_flags>();
  CLI::App* verb = add_verb(noun, "set", "change what is given of a queue's limits; the others stay");
  verb->add_option("name", f->name, "the queue")->required();
  verb->add_option("--concurrency", f->concurrency, "runs of it that may be active at once; 0: no limit")
      ->type_name("N");
  verb->add_option(
          "--rate", f->rate,
          "starts of its runs: 10/m lets ten start at once and one more each 6 s, 1/6s one each 6 s; "
          "none: no limit")
      ->type_name("N/D");
  verb->add_option("--priority", f->priority, "added to that of its runs, -1000 to 1000")->type_name("N");
  verb->callback([f, &chosen] { chosen.action = [f](session& s) { return set(s, *f); }; });
}

}  // namespace

void add_queue_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun = root.add_subcommand("queue", "queues: list, show, set, pause, resume");
  noun->fallthrough();
  CLI::App* list = add_verb(*noun, "list", "all queues that were set up or have runs");
  list->callback([&chosen] {
    chosen.action = [](session& s) {
      s.out.list(s.api->get_all("/api/v1/queues"), row_columns(), "name");
      return exit_ok;
    };
  });
  add_one(*noun, chosen, "show", "one queue");
  add_set(*noun, chosen);
  add_one(*noun, chosen, "pause", "let none of its runs start; those that run go on");
  add_one(*noun, chosen, "resume", "let its runs start again");
}

}  // namespace orchestrator::cli
