// TLS for the HTTP listeners and clients, by the system's OpenSSL over memory buffers.

import COpenSSL
import Glibc
import Kernel

package struct TLSFailure: Error, Sendable, CustomStringConvertible {
    package let description: String
    init(reason: String) { description = reason }
    init(_ what: String) { description = "\(what): \(TLSFailure.reason)" }
    static var reason: String {
        let code = ERR_get_error()
        ERR_clear_error()
        return code == 0 ? "unknown TLS error" : ERR_reason_error_string(code).map { String(cString: $0) } ?? "TLS error \(code)"
    }
}

package final class TLSContext: @unchecked Sendable {
    private let context: OpaquePointer
    private let hostName: String?

    /// A server with a certificate chain and its key, both PEM files.
    package init(certificate: String, key: String) throws(TLSFailure) {
        context = SSL_CTX_new(TLS_server_method())
        hostName = nil
        for file in [certificate, key] where access(file, R_OK) != 0 {
            throw TLSFailure(reason: "open \(file): \(Machine.errorText(errno))")
        }
        guard SSL_CTX_use_certificate_chain_file(context, certificate) == 1 else {
            throw TLSFailure("cannot use the certificate \(certificate)")
        }
        let named = SSL_CTX_get0_certificate(context)
        guard SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1 else {
            throw TLSFailure("cannot use the key \(key)")
        }
        // A key of another kind is taken, and has a place of its own, where no certificate is.
        guard SSL_CTX_get0_certificate(context) == named else {
            throw TLSFailure(reason: "the key \(key) is of another kind than that of the certificate \(certificate)")
        }
        restrict()
        // Of TLS 1.2 what upstream takes and keeps what was said from whoever comes to have the key: see api/common/config.go.
        guard SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM+AES256:ECDHE-RSA-AES256-SHA") == 1 else { throw TLSFailure("cannot restrict the ciphers") }
    }

    /// A client that checks the server's certificate against the system's authorities, if it is told to.
    package init(host: String, verifies: Bool) {
        context = SSL_CTX_new(TLS_client_method())
        hostName = host
        if verifies {
            SSL_CTX_set_default_verify_paths(context)
            SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        }
        restrict()
    }

    private func restrict() { SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil) }
    deinit { SSL_CTX_free(context) }

    enum Side { case server, client }
    func session(_ side: Side) -> TLSSession { TLSSession(context, side, hostName) }
    package var clientSession: TLSSession { session(.client) }
}

/// One connection's cipher state: bytes of the wire in and out, clear bytes in and out.
package final class TLSSession {
    /// What OpenSSL says of a client that speaks HTTP where a handshake should be.
    static let plainHTTP = "tls: http request"

    enum Outcome {
        case nothing
        case established
        case failed(String)
    }
    private let ssl: OpaquePointer
    private let incoming: OpaquePointer
    private let outgoing: OpaquePointer
    private let isServer: Bool
    private var isEstablished = false
    private var waiting: Bytes = []

    init(_ context: OpaquePointer, _ side: TLSContext.Side, _ host: String?) {
        isServer = side == .server
        ssl = SSL_new(context)
        incoming = BIO_new(BIO_s_mem())
        outgoing = BIO_new(BIO_s_mem())
        SSL_set_bio(ssl, incoming, outgoing)
        switch side {
        case .server: SSL_set_accept_state(ssl)
        case .client:
            SSL_set_connect_state(ssl)
            if let host {
                var name = Array(host.utf8CString)
                SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name), &name)
                let parameters = SSL_get0_param(ssl)
                if X509_VERIFY_PARAM_set1_ip_asc(parameters, host) != 1 { SSL_set1_host(ssl, host) }
            }
        }
    }
    deinit { SSL_free(ssl) }

    func receive(_ bytes: Bytes) -> Outcome {
        if !isEstablished, !isServer, bytes.starts(with: "HTTP/".utf8) {
            return .failed("http: server gave HTTP response to HTTPS client")
        }
        _ = bytes.withUnsafeBytes { BIO_write(incoming, $0.baseAddress, Int32($0.count)) }
        return advance()
    }

    func advance() -> Outcome {
        guard !isEstablished else { return .nothing }
        ERR_clear_error()
        let result = SSL_do_handshake(ssl)
        if result == 1 {
            isEstablished = true
            let early = waiting
            waiting = []
            if !early.isEmpty { write(early) }
            return .established
        }
        let code = SSL_get_error(ssl, result)
        if code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE { return .nothing }
        let verification = SSL_get_verify_result(ssl)
        if verification != Int(X509_V_OK) {
            return .failed("tls: failed to verify certificate: \(String(cString: X509_verify_cert_error_string(verification)))")
        }
        return .failed("tls: \(TLSFailure.reason)")
    }

    func write(_ bytes: Bytes) {
        guard isEstablished else { return waiting += bytes }
        _ = bytes.withUnsafeBytes { SSL_write(ssl, $0.baseAddress, Int32($0.count)) }
    }

    /// All clear bytes that are there, and why there will be no more.
    func read() -> (Bytes, ended: String?) {
        guard isEstablished else { return ([], nil) }
        var clear: Bytes = []
        var buffer = Bytes(repeating: 0, count: 16 << 10)
        while true {
            ERR_clear_error()
            let count = SSL_read(ssl, &buffer, Int32(buffer.count))
            if count > 0 {
                clear += buffer[..<Int(count)]
                continue
            }
            switch SSL_get_error(ssl, count) {
            case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return (clear, nil)
            case SSL_ERROR_ZERO_RETURN: return (clear, "EOF")
            default: return (clear, "tls: \(TLSFailure.reason)")
            }
        }
    }

    func shutDown() { if isEstablished { SSL_shutdown(ssl) } }

    func takeOutgoing() -> Bytes {
        var bytes: Bytes = []
        var buffer = Bytes(repeating: 0, count: 16 << 10)
        while true {
            let count = BIO_read(outgoing, &buffer, Int32(buffer.count))
            guard count > 0 else { return bytes }
            bytes += buffer[..<Int(count)]
        }
    }
}
