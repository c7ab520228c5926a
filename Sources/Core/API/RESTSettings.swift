// What the configuration says of an HTTP API. spec/config.md CFG-097..105.

import HTTP
import Kernel

package struct CORSSettings: Sendable, Equatable {
    /// Empty lists mean the defaults of upstream's CORS library (REST-033), which are not these.
    package var allowedOrigins = ["*"]
    package var allowedMethods = ["GET"]
    package var allowedHeaders: [String] = []
    package var exposedHeaders = ["Content-Type", "X-Stream-Output", "X-Chunked-Output", "X-Content-Length"]
    package var allowsCredentials = true
    /// Whole seconds are sent; zero sends nothing.
    package var maxAge = Span.zero
    package init() {}
}

package struct RESTSettings: Sendable, Equatable {
    /// Passwords by user; nil switches authentication off (REST-022).
    package var credentials: [String: String]?
    /// Added to every answer that the API itself writes (REST-039).
    package var headers: HTTPFields = [:]
    package var cors = CORSSettings()
    /// The longest JSON body of a request.
    package var bodyLimitBytes = 4 << 20
    /// The longest header of one part of a form.
    package var partHeaderLimitBytes = 64 << 10
    /// The longest target of a symbolic link; Linux allows 4096.
    package var symlinkLimitBytes = 64 << 10
    package init() {}
}
