// The simulator's command line; see README.md beside this. Seeds are shared out to one process a core, so
// that a seed that ends badly cannot disturb another.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/planted.hpp>

#include "plants.hpp"
#include "situations.hpp"
#include "world.hpp"

namespace orchestrator {

/// In the simulator a failed check of the product is a finding about one seed.
void check_failed(const char* expression, const char* file, int line, const char* why) {
  throw sim::broken_promise(fmt::format("check failed: {} ({}:{}): {}", expression, file, line, why));
}

namespace sim {
namespace {

constexpr std::uint64_t group = 1'000;  ///< of seeds, counted as one test

struct options {
  std::uint64_t seed = 1, runs = 1;
  int jobs = 1;
  std::string plant;
  bool trace = false, list = false, hunts = false;
};

struct outcome {
  std::uint64_t seeds = 0, inputs = 0, agent_inputs = 0, events = 0, repeated = 0;
  double virtual_seconds = 0;
  std::vector<std::uint64_t> inputs_of;  ///< one a seed, for the median
  std::map<std::string, std::uint64_t> situations;
  std::map<std::uint64_t, std::string> failures;
};

struct one_seed {
  std::uint64_t trace = 0;
  std::optional<std::string> broken;
};

one_seed run_seed(std::uint64_t seed, bool trace, outcome* sum) {
  world w(seed, trace);
  one_seed out;
  try {
    w.live();
  } catch (const broken_promise& e) {
    out.broken = e.what();
  }
  out.trace = w.judge.trace() ^ w.inputs ^ w.time.events();
  if (sum == nullptr) return out;
  ++sum->seeds;
  sum->inputs += w.inputs;
  sum->agent_inputs += w.agent_inputs;
  sum->events += w.time.events();
  sum->virtual_seconds += std::chrono::duration<double>(w.time.now()).count();
  sum->inputs_of.push_back(w.inputs);
  for (const auto& [name, n] : w.situations) sum->situations[name] += n;
  return out;
}

/// One seed in a hundred is run twice: if the second run differs, no failure could be replayed.
void run_share(const options& o, int share, outcome& sum) {
  for (std::uint64_t i = static_cast<std::uint64_t>(share); i < o.runs;
       i += static_cast<std::uint64_t>(o.jobs)) {
    const std::uint64_t seed = o.seed + i;
    const one_seed first = run_seed(seed, o.trace, &sum);
    if (first.broken) sum.failures[seed] = *first.broken;
    if (seed % 100 != 0 || first.broken) continue;
    ++sum.repeated;
    if (run_seed(seed, false, nullptr).trace != first.trace)
      sum.failures[seed] = "the same seed went another way";
  }
}

void write_all(int fd, const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
    if (n <= 0) return;
    at += static_cast<std::size_t>(n);
  }
}

std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  return text;
}

void write_outcome(const outcome& o, int fd) {
  std::string text = fmt::format("sum\t{}\t{}\t{}\t{}\t{}\t{}\n", o.seeds, o.inputs, o.agent_inputs, o.events,
                                 o.repeated, o.virtual_seconds);
  for (const std::uint64_t n : o.inputs_of) text += fmt::format("in\t{}\n", n);
  for (const auto& [name, n] : o.situations) text += fmt::format("saw\t{}\t{}\n", n, name);
  for (const auto& [seed, why] : o.failures) text += fmt::format("broke\t{}\t{}\n", seed, one_line(why));
  write_all(fd, text);
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> words(1);
  for (const char c : line) {
    if (c == '\t')
      words.emplace_back();
    else
      words.back() += c;
  }
  return words;
}

void add_outcome(std::FILE* from, outcome& o) {
  std::string line;
  for (int c = std::fgetc(from); c != EOF; c = std::fgetc(from)) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    const auto w = split(line);
    line.clear();
    if (w[0] == "sum") {
      o.seeds += std::stoull(w[1]);
      o.inputs += std::stoull(w[2]);
      o.agent_inputs += std::stoull(w[3]);
      o.events += std::stoull(w[4]);
      o.repeated += std::stoull(w[5]);
      o.virtual_seconds += std::stod(w[6]);
    } else if (w[0] == "in") {
      o.inputs_of.push_back(std::stoull(w[1]));
    } else if (w[0] == "saw") {
      o.situations[w[2]] += std::stoull(w[1]);
    } else if (w[0] == "broke") {
      o.failures[std::stoull(w[1])] = w[2];
    }
  }
}

/// One process for each share: `work` writes lines to a pipe, and `add` reads them here. What went wrong with
/// a process itself comes back.
template <class Work, class Add>
std::vector<std::string> share_out(int shares, Work work, Add add) {
  std::vector<std::pair<pid_t, int>> children;
  for (int i = 0; i < shares; ++i) {
    int ends[2];
    if (::pipe(ends) != 0) std::abort();
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(ends[0]);
      work(i, ends[1]);
      ::_exit(0);
    }
    ::close(ends[1]);
    children.emplace_back(child, ends[0]);
  }
  std::vector<std::string> wrong;
  for (const auto& [child, fd] : children) {
    std::FILE* in = ::fdopen(fd, "r");
    add(in);
    std::fclose(in);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) wrong.push_back(fmt::format("a share ended with status {}", status));
  }
  return wrong;
}

outcome run_all(const options& o) {
  outcome sum;
  if (o.jobs == 1) {
    run_share(o, 0, sum);
    return sum;
  }
  const auto work = [&o](int share, int fd) {
    outcome mine;
    run_share(o, share, mine);
    write_outcome(mine, fd);
  };
  for (const std::string& wrong : share_out(o.jobs, work, [&](std::FILE* in) { add_outcome(in, sum); }))
    sum.failures[0] = wrong;
  return sum;
}

/// How a failing seed is seen again, step by step.
std::string replay(const options& o, std::uint64_t seed) {
  return fmt::format("scripts/sim --seed {} --runs 1 --trace{}", seed,
                     o.plant.empty() ? "" : " --plant " + o.plant);
}

int simulate(const options& o) {
  const auto began = std::chrono::steady_clock::now();
  outcome sum = run_all(o);
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  for (const auto& [seed, why] : sum.failures) fmt::print("seed {}: {}\n  {}\n", seed, why, replay(o, seed));
  std::sort(sum.inputs_of.begin(), sum.inputs_of.end());
  const std::uint64_t median = sum.inputs_of.empty() ? 0 : sum.inputs_of[sum.inputs_of.size() / 2];
  std::size_t missing = 0;
  if (o.list || o.runs >= situations_need_seeds) {
    for (const char* name : needed_situations) {
      const std::uint64_t n = sum.situations[name];
      if (n == 0) fmt::print("never occurred: {}\n", name);
      missing += n == 0 ? 1 : 0;
    }
  }
  if (o.list) {
    for (const auto& [name, n] : sum.situations) fmt::print("{:>12} {}\n", n, name);
  }
  fmt::print(
      "simulation: {} seeds, {} failed, {} situations of {} missing; {} engine inputs (median {} a seed), {} "
      "agent "
      "inputs, {} events, {:.1f} virtual days, {} seeds run twice; {:.1f} s, {:.0f} seeds/s on {} cores\n",
      sum.seeds, sum.failures.size(), missing, std::size(needed_situations), sum.inputs, median,
      sum.agent_inputs, sum.events, sum.virtual_seconds / 86'400, sum.repeated, took,
      static_cast<double>(sum.seeds) / took, o.jobs);
  std::set<std::uint64_t> bad_groups;
  for (const auto& [seed, why] : sum.failures) bad_groups.insert((seed - o.seed) / group);
  const std::uint64_t groups = (o.runs + group - 1) / group;
  fmt::print("groups of {} seeds passed: {}, failed: {}; situations met: {}, missing: {}\n", group,
             groups - std::min<std::uint64_t>(groups, bad_groups.size()), bad_groups.size(),
             std::size(needed_situations) - missing, missing);
  const bool judged_situations = o.runs >= situations_need_seeds;
  return sum.failures.empty() && !(judged_situations && missing > 0) ? 0 : 1;
}

struct catch_of {
  std::string name;
  std::uint64_t tried = 0, seed = 0;
  std::string how;  ///< empty: not found
};

catch_of hunt_one(const options& o, defect d, const char* name) {
  catch_of found{name, 0, 0, {}};
  planted_defect = d;
  while (found.how.empty() && found.tried < o.runs) {
    found.seed = o.seed + found.tried++;
    if (const auto how = run_seed(found.seed, false, nullptr).broken) found.how = *how;
  }
  planted_defect = defect::none;
  return found;
}

/// A line is `name TAB tried TAB seed TAB how`.
void read_catches(std::FILE* in, std::vector<catch_of>& all) {
  std::string line;
  for (int c = std::fgetc(in); c != EOF; c = std::fgetc(in)) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    const auto w = split(line);
    all.push_back({w[0], std::stoull(w[1]), std::stoull(w[2]), w[3]});
    line.clear();
  }
}

/// Each planted defect must be found; prints which seed did it and what the judge said.
int hunt(const options& o) {
  const auto began = std::chrono::steady_clock::now();
  std::vector<std::pair<defect, const char*>> wanted;
  for (const auto& [d, name] : plants) {
    if (o.plant.empty() || o.plant == name) wanted.emplace_back(d, name);
  }
  if (wanted.empty()) {
    fmt::print(stderr, "simulator: no planted defect is called '{}'; `--plants` tries them all.\n", o.plant);
    return 2;
  }
  const auto work = [&](int share, int fd) {
    for (std::size_t i = static_cast<std::size_t>(share); i < wanted.size();
         i += static_cast<std::size_t>(o.jobs)) {
      const catch_of c = hunt_one(o, wanted[i].first, wanted[i].second);
      write_all(fd, fmt::format("{}\t{}\t{}\t{}\n", c.name, c.tried, c.seed, one_line(c.how)));
    }
  };
  std::vector<catch_of> all;
  std::size_t missed = share_out(o.jobs, work, [&](std::FILE* in) { read_catches(in, all); }).size();
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::vector<std::uint64_t> needed;
  fmt::print("{:<28} {:>5} {:>8}  {}\n", "defect", "seeds", "found by", "what the judge said");
  for (const catch_of& c : all) {
    if (c.how.empty()) ++missed;
    if (!c.how.empty()) needed.push_back(c.tried);
    fmt::print("{:<28} {:>5} {:>8}  {}\n", c.name, c.tried, c.how.empty() ? "MISSED" : std::to_string(c.seed),
               c.how);
  }
  std::sort(needed.begin(), needed.end());
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  fmt::print("planted defects found: {}, missed: {}; median after {} seeds; {:.1f} s\n", needed.size(),
             missed, needed.empty() ? 0 : needed[needed.size() / 2], took);
  return missed == 0 ? 0 : 1;
}

int usage() {
  fmt::print(
      stderr,
      "usage: scripts/sim [--seed N] [--runs N] [--jobs N] [--plant NAME] [--plants] [--trace] [--list]\n"
      "  --seed N      the first seed, by default 1\n"
      "  --runs N      how many seeds from there on, by default 1; with --plants at most so many each\n"
      "  --jobs N      processes, by default one a core\n"
      "  --plant NAME  with this planted defect\n"
      "  --plants      looks for every planted defect in turn, and fails if one is not found\n"
      "  --trace       print every message and every durable change with its virtual time\n"
      "  --list        print what occurred, and how often\n");
  return 2;
}

/// A flag that takes a value.
bool take(options& o, const std::string& flag, const char* value) {
  if (flag == "--seed") {
    o.seed = std::strtoull(value, nullptr, 10);
  } else if (flag == "--runs") {
    o.runs = std::strtoull(value, nullptr, 10);
  } else if (flag == "--jobs") {
    o.jobs = std::max(1, std::atoi(value));
  } else if (flag == "--plant") {
    o.plant = value;
  } else {
    return false;
  }
  return true;
}

std::optional<options> parse(int argc, char** argv) {
  options o;
  o.jobs = static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--trace") {
      o.trace = true;
    } else if (flag == "--list") {
      o.list = true;
    } else if (flag == "--plants") {
      o.hunts = true;
    } else if (++i == argc || !take(o, flag, argv[i])) {
      return std::nullopt;
    }
  }
  if (o.trace || (o.runs == 1 && !o.hunts)) o.jobs = 1;
  return o;
}

int run(int argc, char** argv) {
  const auto o = parse(argc, argv);
  if (!o) return usage();
  // A seed's memory serves the next one; given back to the system it would come as new pages each time.
  ::mallopt(M_TRIM_THRESHOLD, 512 * 1024 * 1024);
  ::mallopt(M_TOP_PAD, 16 * 1024 * 1024);
  if (o->hunts) return hunt(*o);
  for (const auto& [d, name] : plants) planted_defect = o->plant == name ? d : planted_defect;
  if (!o->plant.empty() && planted_defect == defect::none) return hunt(*o);  // says that there is none
  return simulate(*o);
}

}  // namespace
}  // namespace sim
}  // namespace orchestrator

int main(int argc, char** argv) { return orchestrator::sim::run(argc, argv); }
