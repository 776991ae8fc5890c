// Flags from settings tables, and sentences for parse errors. See usage.hpp.
#include "usage.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/base/text.hpp>

namespace orchestrator::cli {

void flag_reader::add(CLI::App& app, std::span<const setting> table) {
  for (const setting& s : table) {
    const std::string flag(s.flag);
    std::string help(s.help);
    if (!s.choices.empty()) help += fmt::format(" ({})", s.choices);
    if (!s.fallback.empty() && s.what != setting::kind::boolean)
      help += fmt::format("; default {}", s.fallback);
    if (s.what == setting::kind::boolean) {
      auto value = std::make_shared<bool>(false);
      switches_[flag] = value;
      app.add_flag("--" + flag, *value, help);
      continue;
    }
    auto values = std::make_shared<std::vector<std::string>>();
    texts_[flag] = values;
    const std::string names = flag == "output" ? "-o,--output" : "--" + flag;
    auto* option = app.add_option(names, *values, help);
    option->type_name(s.place.empty() ? (s.choices.empty() ? "TEXT" : "WORD") : std::string(s.place));
    option->allow_extra_args(false);
    option->multi_option_policy(s.what == setting::kind::list ? CLI::MultiOptionPolicy::TakeAll
                                                              : CLI::MultiOptionPolicy::Throw);
    if (s.what != setting::kind::list) option->expected(1);
  }
}

std::map<std::string, std::vector<std::string>> flag_reader::given() const {
  std::map<std::string, std::vector<std::string>> out;
  for (const auto& [flag, values] : texts_) {
    if (!values->empty()) out[flag] = *values;
  }
  for (const auto& [flag, on] : switches_) {
    if (*on) out[flag] = {"true"};
  }
  return out;
}

namespace {

constexpr std::string_view one_of_several = "Exactly 1 option from [";

std::string first_unknown(const CLI::App& app) {
  for (const CLI::App* at = &app;;) {
    for (const std::string& word : at->remaining()) return word;
    if (at->get_subcommands().empty()) return "";
    at = at->get_subcommands().front();
  }
}

}  // namespace

std::string explain_parse_error(const CLI::App& app, const CLI::ParseError& e) {
  std::string command = app.get_name();
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) {
    at = at->get_subcommands().front();
    command += " " + at->get_name();
  }
  const std::string hint = fmt::format("; `{} --help` says what it takes", command);
  if (dynamic_cast<const CLI::ConversionError*>(&e) != nullptr) {
    std::string text = e.what();  // "Could not convert: --retries = many"
    text.erase(0, text.find(": ") + 2);
    const std::size_t equals = text.find(" = ");
    if (equals == std::string::npos) return printable(text) + hint;
    return fmt::format("{} takes a number, not `{}`", printable(text.substr(0, equals)),
                       printable(text.substr(equals + 3))) +
           hint;
  }
  if (const std::string text = e.what(); text.starts_with(one_of_several)) {
    const std::string flags = text.substr(one_of_several.size());
    return "give one of " + flags.substr(0, flags.find(']')) + hint;
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&e) == nullptr) return printable(e.what()) + hint;
  const std::string word = first_unknown(app);
  std::vector<std::string> names;
  if (word.starts_with("-")) {
    for (const CLI::Option* o : at->get_options()) names.push_back(o->get_name());
    for (const CLI::Option* o : app.get_options()) names.push_back(o->get_name());
  } else {
    for (const CLI::App* sub : at->get_subcommands({})) names.push_back(sub->get_name());
  }
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string shown = word.substr(0, word.find('='));
  const auto near = nearest(shown, views);
  // CLI11 takes the flags of `submit ls -l` for ours: the command must begin behind `--`.
  const CLI::Option* words = at->get_option_no_throw("command");
  if (!near && word.starts_with("-") && words != nullptr && words->count() > 0)
    return fmt::format("unknown flag `{}`; if it belongs to the command, put -- before that: {} -- {} {}",
                       printable(shown), command, printable(words->results().front()), printable(word));
  return fmt::format("unknown {} `{}`", word.starts_with("-") ? "flag" : "command or argument",
                     printable(shown)) +
         (near ? fmt::format("; did you mean `{}`?", *near) : hint);
}

}  // namespace orchestrator::cli
