// TLS 1.3 between two sides that both show a certificate, by OpenSSL over memory: bytes of the wire in and out, plain bytes in
// and out. OpenSSL draws the randomness of its handshakes itself: two with the same inputs do not write the same bytes.

import COpenSSL
import Kernel

/// A certificate with its key, and how it is shown: TLS 1.3 alone, no tickets, no resumption.
package final class TLSCredentials: @unchecked Sendable {
    fileprivate let context: OpaquePointer
    package let certificate: Certificate
    /// A handshake message beyond it is refused.
    private static let certificatesBytesLimit = 32 << 10

    /// Certificates in `more` follow the one that is the key's: nobody should want that, but tests do.
    package init?(_ certificate: Certificate, key: SigningKey, followedBy more: [Certificate] = []) {
        guard let context = SSL_CTX_new(TLS_method()) else { return nil }
        self.context = context
        self.certificate = certificate
        guard SSL_CTX_use_certificate(context, certificate.handle.pointer) == 1,
            SSL_CTX_use_PrivateKey(context, key.handle.pointer) == 1
        else { return nil }
        for each in more {
            SSL_CTX_ctrl(context, SSL_CTRL_CHAIN_CERT, 1, UnsafeMutableRawPointer(each.handle.pointer))
        }
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_3_VERSION), nil)
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(TLS1_3_VERSION), nil)
        SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, Int(SSL_SESS_CACHE_OFF), nil)
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_CERT_LIST, TLSCredentials.certificatesBytesLimit, nil)
        SSL_CTX_ctrl(context, SSL_CTRL_MODE, Int(SSL_MODE_RELEASE_BUFFERS), nil)  // whoever is silent keeps no buffer
        SSL_CTX_set_options(context, UInt64(1) << 14)  // SSL_OP_NO_TICKET, whose macro Swift does not see
        SSL_CTX_set_num_tickets(context, 0)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        SSL_CTX_set_cert_verify_callback(context, { store, _ in TLSEngine.judge(store) }, nil)
        SSL_CTX_set_alpn_select_cb(context, { ssl, chosen, count, offered, offeredCount, _ in
            TLSEngine.select(ssl, chosen, count, UnsafeBufferPointer(start: offered, count: Int(offeredCount)))
        }, nil)
    }
    deinit { SSL_CTX_free(context) }
}

/// One session. It belongs to one connection: a copy would share what OpenSSL keeps.
package final class TLSEngine: @unchecked Sendable {
    package enum Side: Sendable {
        case client
        case server
    }
    package struct Failure: Error, Sendable { package let reason: String }
    /// Says whether certificates, in DER, are those of somebody to talk with.
    package typealias Judge = ([Bytes]) -> Bool

    private let ssl: OpaquePointer
    private let incoming: OpaquePointer
    private let outgoing: OpaquePointer
    /// The application protocols, each with its length before it (RFC 7301). The last one is for want of a better.
    private let protocols: [Bytes]
    private var judge: Judge?
    package private(set) var isEstablished = false
    /// OpenSSL gets no more at once, so that its buffers stay small.
    private static let pieceBytes = 64 << 10
    private static let recordBytes = 16 << 10

    package init(_ credentials: TLSCredentials, _ side: Side, protocols: [String]) {
        guard let ssl = SSL_new(credentials.context), let incoming = BIO_new(BIO_s_mem()), let outgoing = BIO_new(BIO_s_mem()) else {
            unreachable("OpenSSL without TLS")
        }
        (self.ssl, self.incoming, self.outgoing) = (ssl, incoming, outgoing)
        self.protocols = protocols.map { [UInt8($0.utf8.count)] + Bytes($0.utf8) }
        SSL_set_bio(ssl, incoming, outgoing)
        SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
        switch side {
        case .server: SSL_set_accept_state(ssl)
        case .client:
            SSL_set_connect_state(ssl)
            let offered = self.protocols.flatMap { $0 }
            SSL_set_alpn_protos(ssl, offered, UInt32(offered.count))
        }
    }
    deinit { SSL_free(ssl) }

    /// The client's first message; nothing for a server.
    package func start(into out: inout Bytes) throws(Failure) {
        defer { drain(into: &out) }
        try shake()
    }

    /// Takes bytes of the wire. What is to be answered is appended to `out`, also where it fails: the other side is told why.
    package func receive(
        _ bytes: Bytes, into out: inout Bytes, plain: inout Bytes, judge: Judge
    ) throws(Failure) {
        defer { drain(into: &out) }
        var failure: Failure?
        withoutActuallyEscaping(judge) { judge in
            self.judge = judge
            defer { self.judge = nil }
            do throws(Failure) { try take(bytes, &plain) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    package func seal(_ plain: Bytes, into out: inout Bytes) throws(Failure) {
        invariant(isEstablished, "sealing before the handshake is over")
        var offset = 0
        while offset < plain.count {
            ERR_clear_error()
            let count = min(TLSEngine.pieceBytes, plain.count - offset)
            let written = plain.withUnsafeBytes { SSL_write(ssl, $0.baseAddress! + offset, Int32(count)) }
            guard written == count else { throw Failure(reason: TLSEngine.reason) }
            offset += count
            drain(into: &out)
        }
    }

    /// Says that nothing follows.
    package func end(into out: inout Bytes) {
        guard isEstablished else { return }
        ERR_clear_error()
        SSL_shutdown(ssl)
        drain(into: &out)
    }

    /// The application protocol, if there is one.
    package var agreed: String? {
        var (text, count) = (UnsafePointer<UInt8>?.none, UInt32(0))
        SSL_get0_alpn_selected(ssl, &text, &count)
        return text.map { String(decoding: UnsafeBufferPointer(start: $0, count: Int(count)), as: UTF8.self) }
    }

    // MARK: OpenSSL

    private func take(_ bytes: Bytes, _ plain: inout Bytes) throws(Failure) {
        var offset = 0
        while offset < bytes.count {
            let count = min(TLSEngine.pieceBytes, bytes.count - offset)
            let written = bytes.withUnsafeBytes { BIO_write(incoming, $0.baseAddress! + offset, Int32(count)) }
            invariant(written == count, "memory took \(written) of \(count) bytes")
            offset += count
            try shake()
            if isEstablished { try read(&plain) }
        }
    }

    private func shake() throws(Failure) {
        guard !isEstablished else { return }
        ERR_clear_error()
        let result = SSL_do_handshake(ssl)
        if result == 1 { return isEstablished = true }
        if SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ { throw Failure(reason: TLSEngine.reason) }
    }

    private func read(_ plain: inout Bytes) throws(Failure) {
        while true {
            ERR_clear_error()
            let count = withUnsafeTemporaryAllocation(byteCount: TLSEngine.recordBytes, alignment: 16) { buffer in
                let count = SSL_read(ssl, buffer.baseAddress, Int32(buffer.count))
                if count > 0 { plain.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)])) }
                return count
            }
            if count > 0 { continue }
            switch SSL_get_error(ssl, count) {
            case SSL_ERROR_WANT_READ: return
            case SSL_ERROR_ZERO_RETURN: throw Failure(reason: "the other side has ended the connection")
            default: throw Failure(reason: TLSEngine.reason)
            }
        }
    }

    private func drain(into out: inout Bytes) {
        let count = BIO_ctrl_pending(outgoing)
        if count > 0 { out.append(count) { _ = BIO_read(outgoing, $0.baseAddress, Int32($0.count)) } }
    }

    private static var reason: String {
        let code = ERR_get_error()
        ERR_clear_error()
        // An alert of the other side: OpenSSL's own words for it begin with the version of SSL that first had it.
        let alert = ERR_GET_REASON(code) - Int32(SSL_AD_REASON_OFFSET)
        if ERR_GET_LIB(code) == ERR_LIB_SSL, (0...255).contains(alert), let text = SSL_alert_desc_string_long(alert) {
            return "the other side says: \(String(cString: text))"
        }
        return ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(code) of OpenSSL"
    }

    // MARK: What OpenSSL asks

    private static func of(_ ssl: OpaquePointer?) -> TLSEngine? {
        SSL_get_ex_data(ssl, 0).map { Unmanaged<TLSEngine>.fromOpaque($0).takeUnretainedValue() }
    }

    /// Whether the other side's certificates will do.
    fileprivate static func judge(_ store: OpaquePointer?) -> Int32 {
        let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()).map { OpaquePointer($0) }
        let shown = X509_STORE_CTX_get0_untrusted(store)
        let chain = (0..<max(0, OPENSSL_sk_num(shown))).compactMap { number -> Bytes? in
            guard let each = OPENSSL_sk_value(shown, number).map({ OpaquePointer($0) }), X509_up_ref(each) == 1 else { return nil }
            return CertificateHandle(each).map { Certificate($0).der }
        }
        if of(ssl)?.judge?(chain) == true { return 1 }
        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED)  // told as bad_certificate
        return 0
    }

    /// The first of the client's that the server knows (TLS-06).
    fileprivate static func select(
        _ ssl: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?, _ count: UnsafeMutablePointer<UInt8>?,
        _ offered: UnsafeBufferPointer<UInt8>
    ) -> Int32 {
        guard let engine = of(ssl) else { return SSL_TLSEXT_ERR_ALERT_FATAL }
        for known in [engine.protocols.dropLast(), engine.protocols.suffix(1)] {
            var rest = offered[...]
            while let length = rest.first, rest.count > length {
                if known.contains(where: { $0.elementsEqual(rest.prefix(1 + Int(length))) }) {
                    chosen?.pointee = offered.baseAddress.map { $0 + rest.startIndex + 1 }
                    count?.pointee = length
                    return SSL_TLSEXT_ERR_OK
                }
                rest = rest.dropFirst(1 + Int(length))
            }
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL
    }
}
