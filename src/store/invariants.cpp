// The queries of invariants.hpp (a text that is no JSON breaks none of them: check.cpp names it), and the
// walk over the facts, which are packed and no query can read.
#include "invariants.hpp"

#include <algorithm>
#include <string>

#include "fact_pages.hpp"

namespace orchestrator::store {
namespace {

constexpr std::size_t offenders_shown = 3;

struct invariant {
  const char* id;
  const char* title;
  const char* sql;         ///< one text for each offender
  std::int64_t since = 1;  ///< the schema that brought what it reads; a backup may be older
};

// States are the numbers of schema.cpp: runs 0 queued, 1 active, 2 retry_wait, 3 unknown, from 4 on final, 4
// succeeded, 6 cancelled; attempts up to 2 live, 3 succeeded, 7 rejected, 8 not_started.
constexpr invariant main_invariants[] = {
    {"I2", "a run has an end if it is final, and only then",
     "SELECT 'run '||lower(hex(id)) FROM runs WHERE (state>=4)<>(finished_at IS NOT NULL)"},
    {"I3", "at most one attempt of a run is live",
     "SELECT 'run '||lower(hex(run)) FROM attempts WHERE state<=2 GROUP BY run HAVING count(*)>1"},
    {"I3", "an active run has a live attempt, and a waiting one has none",
     "SELECT 'run '||lower(hex(id)) FROM runs WHERE state<4 AND state<>3 AND "
     "(state=1)<>EXISTS(SELECT 1 FROM attempts WHERE run=runs.id AND attempts.state<=2)"},
    {"I4", "no lease is beyond the counter",
     "SELECT 'lease '||lease FROM attempts WHERE lease>(SELECT lease_counter FROM progress)"},
    {"I4", "the leases of a run rise with its attempts",
     "SELECT 'lease '||lease FROM (SELECT lease,number,lag(number) OVER (PARTITION BY run ORDER BY lease) AS "
     "before FROM attempts) WHERE before>=number"},
    {"I4", "the newest attempt that ran decided its run",
     "SELECT 'run '||lower(hex(runs.id)) FROM runs JOIN attempts a ON a.run=runs.id WHERE runs.state>=4 AND "
     "runs.deciding_lease>0 AND a.lease>runs.deciding_lease AND a.state NOT IN (7,8)"},
    {"I5", "no attempt is live after its run ended",
     "SELECT 'lease '||lease FROM attempts WHERE state<=2 AND "
     "NOT EXISTS(SELECT 1 FROM runs WHERE id=attempts.run AND runs.state<4)"},
    {"I19", "every attempt has its run",
     "SELECT 'lease '||lease FROM attempts WHERE NOT EXISTS(SELECT 1 FROM runs WHERE id=attempts.run)"},
    {"I7", "no run was tried more often than its policy allows",
     "SELECT 'run '||lower(hex(r.id)) FROM runs r JOIN specs s ON s.id=r.spec WHERE r.attempts>1 AND "
     "(SELECT count(*) FROM attempts WHERE run=r.id AND state NOT IN (7,8))>"
     "CASE WHEN json_valid(s.text) THEN coalesce(json_extract(s.text,'$.retry.max_attempts'),1)+"
     "coalesce(json_extract(s.text,'$.retry.max_lost'),3) END"},
    {"I8", "an at_most_once run was handed out once",
     "SELECT 'run '||lower(hex(r.id)) FROM runs r JOIN specs s ON s.id=r.spec WHERE r.attempts>1 AND "
     "CASE WHEN json_valid(s.text) THEN json_extract(s.text,'$.at_most_once') END AND "
     "(SELECT count(*) FROM attempts WHERE run=r.id AND state NOT IN (7,8))>1"},
    {"I10", "a run succeeded by an attempt that did",
     "SELECT 'run '||lower(hex(id)) FROM runs WHERE state=4 AND reason<>'resolved' AND NOT EXISTS(SELECT 1 "
     "FROM attempts WHERE lease=runs.deciding_lease AND run=runs.id AND attempts.state=3 AND "
     "coalesce(exit_code,0)=0)"},
    {"I14", "a run that was cancelled while it was active ended as cancelled",
     "SELECT 'run '||lower(hex(id)) FROM runs WHERE cancel_requested AND state>=4 AND state<>6 AND "
     "reason<>'resolved'"},
    {"I15", "an instant of a job made one run, and that run says so",
     "SELECT 'run '||lower(hex(runs.id)) FROM instants i JOIN runs ON runs.id=i.run WHERE runs.job<>i.job OR "
     "runs.instant IS NOT i.instant UNION ALL SELECT 'job '||job FROM runs WHERE instant IS NOT NULL "
     "GROUP BY job,instant HAVING count(*)>1"},
    {"after", "no run started before those it waits for had ended, and none waits for itself",
     "WITH RECURSIVE waits(id,attempts,after,at) AS (SELECT id,attempts,after,1 FROM runs WHERE "
     "length(after)>0 UNION ALL SELECT id,attempts,after,at+17 FROM waits WHERE at+17<=length(after)) "
     "SELECT 'run '||lower(hex(w.id)) FROM waits w LEFT JOIN runs d ON d.id=substr(w.after,w.at,16) WHERE "
     "d.id=w.id OR (w.attempts>0 AND d.state<4)",
     3},
    {"I19", "counts of runs by state are right",
     "SELECT 'state '||c.state FROM run_counts c LEFT JOIN (SELECT state,count(*) AS n FROM runs GROUP BY "
     "state) r ON r.state=c.state WHERE c.count<>coalesce(r.n,0)"},
    {"I19", "every run has its specification and every job its definition",
     "SELECT 'run '||lower(hex(id)) FROM runs WHERE NOT EXISTS(SELECT 1 FROM specs WHERE id=runs.spec) UNION "
     "ALL SELECT 'job '||name FROM jobs WHERE NOT EXISTS(SELECT 1 FROM job_versions v WHERE v.name=jobs.name "
     "AND v.version=jobs.version)"},
    {"I19", "every calendar that a schedule names is there",
     "WITH schedules(name,text) AS (SELECT j.name,CASE WHEN json_valid(v.text) THEN v.text ELSE '{}' END "
     "FROM "
     "jobs j JOIN job_versions v ON v.name=j.name AND v.version=j.version), names(job,calendar) AS ("
     "SELECT name,c.value FROM schedules,json_each(text,'$.schedule.include') c UNION ALL "
     "SELECT name,c.value FROM schedules,json_each(text,'$.schedule.exclude') c) "
     "SELECT 'job '||job FROM names WHERE NOT EXISTS(SELECT 1 FROM calendars WHERE name=calendar)",
     2},
    {"I19", "the facts are numbered without a gap",
     "SELECT 'fact '||first FROM (SELECT first,lag(first+count) OVER (ORDER BY first) AS expected FROM "
     "facts) "
     "WHERE expected<>first UNION ALL SELECT 'the last fact' FROM progress WHERE fact_sequence<>coalesce("
     "(SELECT first+count-1 FROM facts ORDER BY first DESC LIMIT 1),fact_sequence)"},
};

constexpr invariant output_invariants[] = {
    {"I11", "stored output adds up",
     "SELECT 'lease '||s.lease||' '||s.name FROM streams s LEFT JOIN (SELECT stream,sum(length(data)) AS n,"
     "max(offset+length(data)) AS last FROM chunks GROUP BY stream) c ON c.stream=s.id "
     "WHERE s.bytes<>coalesce(c.n,0) OR s.end<coalesce(c.last,0)"},
    {"I11", "no output is stored twice",
     "SELECT 'stream '||stream||' at '||offset FROM (SELECT stream,offset,lag(offset+length(data)) OVER "
     "(PARTITION BY stream ORDER BY offset) AS before FROM chunks) WHERE before>offset UNION ALL "
     "SELECT 'stream '||stream FROM chunks WHERE stream NOT IN (SELECT id FROM streams)"},
};

check_finding judge(connection& db, const invariant& i) {
  check_finding found{i.id, i.title, {}};
  statement query(db.handle(), i.sql);
  while (found.offenders.size() < offenders_shown && query.next()) found.offenders.push_back(query.text(0));
  return found;
}

bool tells_an_end(std::string_view type) {
  return type == "run.succeeded" || type == "run.failed" || type == "run.cancelled" ||
         type == "run.expired" || type == "run.skipped";
}

/// What the facts say: a run ended once, and a lease that was lost by silence had been silent long enough.
class fact_walk {
 public:
  explicit fact_walk(connection& db)
      : db_(db),
        too_early_(db.handle(),
                   "SELECT 1 WHERE json_extract(?1,'$.reason')='silence' AND "
                   "json_extract(?1,'$.silence_ms')<json_extract(?1,'$.grace_ms')") {}

  void run() {
    statement pages(db_.handle(), "SELECT first,body FROM facts ORDER BY first");
    while (pages.next()) {
      facts_.clear();
      unpack_facts(pages.number(0), pages.bytes(1), 0, facts_);
      for (const stored_fact& f : facts_) look_at(f.fact);
    }
    std::sort(ended_.begin(), ended_.end());
    const auto twice = std::adjacent_find(ended_.begin(), ended_.end());
    if (twice != ended_.end()) once_.offenders.push_back("run " + to_string(*twice));
  }
  check_finding once() const { return once_; }
  check_finding patient() const { return patient_; }

 private:
  void look_at(const fact& f) {
    if (tells_an_end(f.type) && f.subject.starts_with("run/")) {
      if (const auto id = parse_uuid(std::string_view{f.subject}.substr(4))) ended_.push_back(*id);
    } else if (f.type == "attempt.lost" && too_early_.with(f.data).next()) {
      too_early_.reset();
      if (patient_.offenders.size() < offenders_shown) patient_.offenders.push_back(f.subject);
    }
  }

  connection& db_;
  statement too_early_;
  std::vector<stored_fact> facts_;
  std::vector<run_id> ended_;
  check_finding once_{"I2", "no run ended twice", {}};
  check_finding patient_{"I13", "no lease was lost by a silence shorter than its grace", {}};
};

}  // namespace

void check_invariants(connection& main, connection& output, std::vector<check_finding>& out) {
  const std::int64_t version = main.integer("PRAGMA user_version");
  for (const invariant& i : main_invariants)
    if (i.since <= version) out.push_back(judge(main, i));
  fact_walk facts(main);
  facts.run();
  out.push_back(facts.once());
  out.push_back(facts.patient());
  for (const invariant& i : output_invariants) out.push_back(judge(output, i));
}

}  // namespace orchestrator::store
