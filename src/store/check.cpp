// `server check`: both databases read through, and every invariant that they can show. See maintenance.hpp.
#include <string>

#include <orchestrator/store/maintenance.hpp>

#include "data_dir.hpp"
#include "invariants.hpp"
#include "open.hpp"
#include "stored_texts.hpp"

namespace orchestrator::store {
namespace {

constexpr std::size_t complaints_shown = 3;

check_finding look_through(connection& db, const std::string& name) {
  check_finding found{"integrity", name + " is whole", {}};
  statement query(db.handle(), "PRAGMA integrity_check(3)");
  while (query.next())
    if (query.bytes(0) != "ok") found.offenders.push_back(query.text(0));
  return found;
}

check_finding foreign_keys(connection& db, const std::string& name) {
  check_finding found{"foreign_keys", "references inside " + name + " lead somewhere", {}};
  statement query(db.handle(), "PRAGMA foreign_key_check");
  while (found.offenders.size() < complaints_shown && query.next()) found.offenders.push_back(query.text(0));
  return found;
}

check_finding schema_of(connection& main, connection& output) {
  // A newer or foreign schema was refused when the files were opened.
  check_finding found{"schema", "the schema is known, and the output belongs to these runs", {}};
  constexpr const char* cluster = "SELECT hex(value) FROM meta WHERE key='cluster'";
  const std::string ours = main.text(cluster), theirs = output.text(cluster);
  if (!theirs.empty() && ours != theirs)
    found.offenders.push_back("output.db belongs to cluster " + theirs + ", not to " + ours);
  return found;
}

check_finding look_at_texts(connection& main, const text_judge& texts) {
  check_finding found{"texts", "every specification, job and calendar can be read", {}};
  for (const unreadable_text& t : unreadable_texts(main, texts, complaints_shown))
    found.offenders.push_back("table " + t.table + " row " + t.row + ": " + t.why);
  return found;
}

}  // namespace

boost::system::result<std::vector<check_finding>, open_failure> check_data_dir(
    const std::filesystem::path& dir, const text_judge& texts) {
  try {
    connection main = open_read_only(dir, main_file);
    connection output = open_read_only(dir, output_file);
    try {
      std::vector<check_finding> findings;
      findings.push_back(look_through(main, main_file));
      findings.push_back(look_through(output, output_file));
      findings.push_back(foreign_keys(main, main_file));
      findings.push_back(schema_of(main, output));
      findings.push_back(look_at_texts(main, texts));
      check_invariants(main, output, findings);
      return findings;
    } catch (const SQLite::Exception& e) {
      refuse_failed(dir / main_file, e);
    }
  } catch (const open_error& e) {
    return e.failure;
  }
}

}  // namespace orchestrator::store
