// Every specification, every version of a job and every calendar, handed to whoever can read them.
#include "stored_texts.hpp"

#include <span>

#include "data_dir.hpp"
#include "open.hpp"

namespace orchestrator::store {
namespace {

/// One of the three tables: the row as people are told it, its name, and the text.
struct table_of_texts {
  const char* name;
  const char* sql;
};

constexpr table_of_texts tables[] = {
    {"specs", "SELECT id,'',text FROM specs ORDER BY id"},
    {"job_versions", "SELECT name||' version '||version,name,text FROM job_versions ORDER BY name,version"},
    {"calendars", "SELECT name,name,text FROM calendars ORDER BY name"},
};
// What a start reads (load_snapshot.cpp). A text of the past that nobody can read keeps no backup from being
// made or put back.
constexpr table_of_texts tables_of_a_start[] = {
    {"specs", "SELECT id,'',text FROM specs WHERE id IN (SELECT spec FROM runs WHERE state<4) ORDER BY id"},
    {"job_versions",
     "SELECT v.name||' version '||v.version,v.name,v.text FROM jobs j JOIN job_versions v ON v.name=j.name "
     "AND "
     "v.version=j.version ORDER BY v.name"},
    tables[2],
};

/// A backup may be of a version that had no calendars.
bool has_table(connection& db, const char* name) {
  statement& query = db.prepared("SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?1").with(name);
  const bool found = query.next();
  query.reset();
  return found;
}

std::vector<unreadable_text> unreadable(connection& main, std::span<const table_of_texts> where,
                                        const text_judge& texts, std::size_t most) {
  std::vector<unreadable_text> found;
  for (const table_of_texts& t : where) {
    if (!has_table(main, t.name)) continue;
    statement rows(main.handle(), t.sql);
    while (found.size() < most && rows.next()) {
      if (auto why = texts(t.name, rows.bytes(1), rows.bytes(2)))
        found.push_back({t.name, rows.text(0), std::move(*why)});
    }
  }
  return found;
}

}  // namespace

std::vector<unreadable_text> unreadable_texts(connection& main, const text_judge& texts, std::size_t most) {
  return unreadable(main, tables, texts, most);
}

void refuse_unreadable_texts(connection& main, const std::filesystem::path& dir, const text_judge& texts) {
  const auto found = unreadable(main, tables_of_a_start, texts, 1);
  if (found.empty()) return;
  throw open_error{unusable_row_failure(dir, found[0].table, found[0].row, found[0].why)};
}

open_failure unusable_row_failure(const std::filesystem::path& dir, std::string_view table,
                                  std::string_view row, std::string_view why) {
  std::string text = "The database " + quoted(dir / main_file) + " cannot be used: in table ";
  text.append(table).append(" the row ").append(row).append(" cannot be read (").append(why);
  text +=
      "). It is damaged, or a later version of the program wrote it. Use the later program, or put a backup "
      "back (orchestrator server restore BACKUP --replace).";
  return {65, std::move(text)};
}

}  // namespace orchestrator::store
