// Answers the dashboard's files: conditional, compressed, and with headers that let a page load nothing but
// itself. See dashboard.hpp.
#include "dashboard.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

namespace orchestrator::server {

namespace asio = boost::asio;

namespace {

constexpr const char* html = "text/html; charset=utf-8";

/// Scripts and styles come from files of ours only, and nobody may put the page into a frame: whatever a job
/// writes stays text, even if a page of ours had a mistake.
constexpr const char* content_policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

constexpr const char* not_built_in =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Orchestrator</title>"
    "<h1>Orchestrator</h1><p>This coordinator was built without its dashboard, because no usable Node was "
    "found or "
    "<code>-DORCHESTRATOR_DASHBOARD=OFF</code> was given.</p><p>To build with it: install Node 18 or newer "
    "with npm "
    "(<code>scripts/setup</code> does), then run <code>scripts/build</code> again, which says in its log "
    "(<code>build/release/configure.log</code>) if it cannot.</p><p>The command line and the HTTP API below "
    "<code>/api/v1</code> work without.</p></html>\n";

/// The parts of a comma-separated header without blanks around them.
std::vector<std::string_view> split_list(const std::string* header) {
  std::vector<std::string_view> parts;
  std::string_view rest = header == nullptr ? std::string_view{} : std::string_view(*header);
  while (!rest.empty()) {
    std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    while (part.starts_with(' ') || part.starts_with('\t')) part.remove_prefix(1);
    while (part.ends_with(' ') || part.ends_with('\t')) part.remove_suffix(1);
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

/// Named, and not with a weight of zero.
bool takes_gzip(const net::http_request& r) {
  for (const std::string_view part : split_list(r.header("accept-encoding"))) {
    std::string_view name = part.substr(0, part.find(';'));
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (name != "gzip") continue;
    const std::size_t weight = part.find("q=");
    return weight == part.npos || part.substr(weight + 2).find_first_not_of("0.") != part.npos;
  }
  return false;
}

/// A browser that goes to an address says that it wants a document; a script that asks for data does not.
bool wants_document(const net::http_request& r) {
  const std::string* accept = r.header("accept");
  return accept != nullptr && accept->find("text/html") != std::string::npos;
}

void add_guards(net::http_response& out) {
  out.headers.emplace_back("Content-Security-Policy", content_policy);
  out.headers.emplace_back("X-Content-Type-Options", "nosniff");
  out.headers.emplace_back("Referrer-Policy", "no-referrer");
  out.headers.emplace_back("Cross-Origin-Opener-Policy", "same-origin");
}

net::http_response show(const dashboard_file& file, const net::http_request& r) {
  const bool gzip = takes_gzip(r);
  net::http_response out;
  out.content_type = file.content_type;
  const std::string etag = fmt::format("\"{}{}\"", file.hash, gzip ? "-gzip" : "");
  out.headers.emplace_back("ETag", etag);
  out.headers.emplace_back("Vary", "Accept-Encoding");
  // The document names the others by their hash, so only it can ever be out of date.
  out.headers.emplace_back("Cache-Control",
                           file.path == "/" ? "no-cache" : "public, max-age=31536000, immutable");
  add_guards(out);
  for (std::string_view known : split_list(r.header("if-none-match"))) {
    if (known.starts_with("W/")) known.remove_prefix(2);
    if (known != etag && known != "*") continue;
    out.status = 304;
    return out;
  }
  if (gzip) out.headers.emplace_back("Content-Encoding", "gzip");
  out.body = gzip ? file.gzip : file.body;
  return out;
}

net::http_response no_such_page(const net::http_request& r) {
  return net::problem(refusal{errc::not_found, fmt::format("there is nothing at {}", printable(r.path)), "",
                              "pages are for browsers; the API is below /api/v1"});
}

asio::awaitable<net::http_response> serve(dashboard_file file, bool is_page, net::http_request r) {
  if (is_page && file.path != r.path && !wants_document(r)) co_return no_such_page(r);
  co_return show(file, r);
}

asio::awaitable<net::http_response> serve_notice() {
  net::http_response out;
  out.content_type = html;
  out.body = not_built_in;
  out.headers.emplace_back("Cache-Control", "no-store");
  add_guards(out);
  co_return out;
}

}  // namespace

void add_dashboard_routes(net::http_server& http) {
  if (dashboard_files().empty()) {
    http.add({"GET", "/", [](const net::http_request&) { return serve_notice(); }});
    return;
  }
  for (const dashboard_file& file : dashboard_files()) {
    http.add({"GET", std::string(file.path),
              [&file](net::http_request r) { return serve(file, false, std::move(r)); }});
    if (file.path != "/") continue;
    for (const std::string_view page : dashboard_pages()) {
      http.add({"GET", std::string(page),
                [&file](net::http_request r) { return serve(file, true, std::move(r)); }});
    }
  }
}

bool is_dashboard_route(const net::route& r) {
  const auto same = [&r](std::string_view path) { return r.pattern == path; };
  return r.pattern == "/" || r.pattern.starts_with("/assets/") ||
         std::any_of(dashboard_pages().begin(), dashboard_pages().end(), same);
}

}  // namespace orchestrator::server
