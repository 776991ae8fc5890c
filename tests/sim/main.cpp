// The simulator's command line; see README.md beside this. Seeds are shared out to one process a core, so
// that a seed that ends badly cannot disturb another.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

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

struct options {
  std::uint64_t seed = 1, runs = 1;
  int jobs = 1;
  std::string plant;
  bool trace = false, list = false;
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

void write_outcome(const outcome& o, int fd) {
  std::string text = fmt::format("sum\t{}\t{}\t{}\t{}\t{}\t{}\n", o.seeds, o.inputs, o.agent_inputs, o.events,
                                 o.repeated, o.virtual_seconds);
  for (const std::uint64_t n : o.inputs_of) text += fmt::format("in\t{}\n", n);
  for (const auto& [name, n] : o.situations) text += fmt::format("saw\t{}\t{}\n", n, name);
  for (const auto& [seed, why] : o.failures) {
    std::string line = why;
    std::replace(line.begin(), line.end(), '\n', ' ');
    text += fmt::format("broke\t{}\t{}\n", seed, line);
  }
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
    if (n <= 0) return;
    at += static_cast<std::size_t>(n);
  }
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

outcome run_all(const options& o) {
  outcome sum;
  if (o.jobs == 1) {
    run_share(o, 0, sum);
    return sum;
  }
  std::vector<std::pair<pid_t, int>> children;
  for (int i = 0; i < o.jobs; ++i) {
    int ends[2];
    if (::pipe(ends) != 0) std::abort();
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(ends[0]);
      outcome mine;
      run_share(o, i, mine);
      write_outcome(mine, ends[1]);
      std::fflush(nullptr);
      ::_exit(0);
    }
    ::close(ends[1]);
    children.emplace_back(child, ends[0]);
  }
  for (const auto& [child, fd] : children) {
    std::FILE* in = ::fdopen(fd, "r");
    add_outcome(in, sum);
    std::fclose(in);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) sum.failures[0] = fmt::format("a share of the seeds ended with status {}", status);
  }
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
      if (o.list) fmt::print("{:>12} {}\n", n, name);
      if (n == 0 && !o.list) fmt::print("never occurred: {}\n", name);
      missing += n == 0 ? 1 : 0;
    }
  }
  fmt::print(
      "simulation: {} seeds, {} failed, {} situations of {} missing; {} engine inputs (median {} a seed), {} "
      "agent "
      "inputs, {} events, {:.1f} virtual days, {} seeds run twice; {:.1f} s, {:.0f} seeds/s on {} cores\n",
      sum.seeds, sum.failures.size(), missing, std::size(needed_situations), sum.inputs, median,
      sum.agent_inputs, sum.events, sum.virtual_seconds / 86'400, sum.repeated, took,
      static_cast<double>(sum.seeds) / took, o.jobs);
  const bool judged_situations = o.runs >= situations_need_seeds;
  return sum.failures.empty() && !(judged_situations && missing > 0) ? 0 : 1;
}

/// Each planted defect must be found; prints at which seed it was.
int hunt(const options& o) {
  std::size_t missed = 0;
  std::vector<std::uint64_t> found_after;
  for (const auto& [d, name] : plants) {
    if (o.plant != "all" && o.plant != name) continue;
    planted_defect = d;
    std::optional<std::string> how;
    std::uint64_t tried = 0;
    while (!how && tried < o.runs) {
      how = run_seed(o.seed + tried, false, nullptr).broken;
      ++tried;
    }
    if (how) {
      found_after.push_back(tried);
      fmt::print("found  {:<28} after {:>5} seeds: {}\n", name, tried, *how);
    } else {
      ++missed;
      fmt::print("MISSED {:<28} in {} seeds\n", name, tried);
    }
    std::fflush(stdout);
  }
  planted_defect = defect::none;
  std::sort(found_after.begin(), found_after.end());
  const std::uint64_t median = found_after.empty() ? 0 : found_after[found_after.size() / 2];
  fmt::print("planted defects: {} found (median after {} seeds), {} missed\n", found_after.size(), median,
             missed);
  return missed == 0 ? 0 : 1;
}

int usage() {
  fmt::print(stderr,
             "usage: scripts/sim [--seed N] [--runs N] [--jobs N] [--plant NAME|all] [--trace] [--list]\n"
             "  --seed N      the first seed, by default 1\n"
             "  --runs N      how many seeds from there on, by default 1\n"
             "  --jobs N      processes, by default one a core\n"
             "  --plant NAME  switch a planted defect on and look for it; `all` tries each in turn\n"
             "  --trace       print every durable change with its virtual time\n"
             "  --list        print how often each needed situation occurred\n");
  return 2;
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
    } else if (i + 1 == argc) {
      return std::nullopt;
    } else if (const char* value = argv[++i]; flag == "--seed") {
      o.seed = std::strtoull(value, nullptr, 10);
    } else if (flag == "--runs") {
      o.runs = std::strtoull(value, nullptr, 10);
    } else if (flag == "--jobs") {
      o.jobs = std::max(1, std::atoi(value));
    } else if (flag == "--plant") {
      o.plant = value;
    } else {
      return std::nullopt;
    }
  }
  if (o.trace || o.runs == 1) o.jobs = 1;
  return o;
}

int run(int argc, char** argv) {
  const auto o = parse(argc, argv);
  if (!o) return usage();
  if (o->plant.empty()) return simulate(*o);
  if (o->trace) {
    for (const auto& [d, name] : plants) planted_defect = o->plant == name ? d : planted_defect;
    return simulate(*o);
  }
  return hunt(*o);
}

}  // namespace
}  // namespace sim
}  // namespace orchestrator

int main(int argc, char** argv) { return orchestrator::sim::run(argc, argv); }
