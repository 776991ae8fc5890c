// The one translation unit that compiles the bodies of Asio and Beast. Every other file sees declarations
// only (BOOST_ASIO_SEPARATE_COMPILATION, BOOST_BEAST_SEPARATE_COMPILATION), which halves the build time.
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
