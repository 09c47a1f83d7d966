import CCrypto

/// A SHA-256 digest under computation, by OpenSSL.
@safe struct SHA256: ~Copyable {
  private let context: OpaquePointer

  init() {
    guard let context = unsafe EVP_MD_CTX_new(), unsafe EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1
    else { preconditionFailure("OpenSSL has no memory left for a digest.") }
    unsafe self.context = context
  }

  deinit { unsafe EVP_MD_CTX_free(context) }

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    let status = unsafe EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
    precondition(status == 1, "OpenSSL could not continue a digest.")
  }

  /// The 32 bytes of the digest, and a fresh start.
  mutating func finish() -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    let status = unsafe EVP_DigestFinal_ex(context, &digest, nil)
    precondition(status == 1, "OpenSSL could not finish a digest.")
    let restarted = unsafe EVP_DigestInit_ex(context, EVP_sha256(), nil)
    precondition(restarted == 1, "OpenSSL could not begin another digest.")
    return digest
  }
}
