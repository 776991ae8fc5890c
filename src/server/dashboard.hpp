// The dashboard as the server serves it: its files, which the build put into the executable, and the
// addresses of its pages, which all answer the same document. Filled by src/dashboard/build.mjs; empty when
// built without Node.
#pragma once

#include <span>
#include <string_view>

#include <orchestrator/net/http.hpp>

namespace orchestrator::server {

struct dashboard_file {
  std::string_view
      path;  ///< "/" for the document, else "/assets/NAME-HASH.EXT", which never changes its content
  std::string_view content_type;
  std::string_view hash;  ///< of the content: the ETag
  std::string_view body;
  std::string_view gzip;  ///< the same, compressed at build time
};

/// Made at build time. Without the dashboard both are empty.
std::span<const dashboard_file> dashboard_files();
/// Patterns as the router takes them: "/runs/{id}".
std::span<const std::string_view> dashboard_pages();

/// Routes for all of it, or for a page that says how to build with it.
void add_dashboard_routes(net::http_server& http);
/// True for the routes made here: they are the same for everybody, so they need no token.
bool is_dashboard_route(const net::route& r);

}  // namespace orchestrator::server
