// The product's version, as --version, /api/v1/version and a worker's registration say it.
#pragma once

namespace orchestrator {
inline constexpr const char* version_text = "0.1.0";
}
