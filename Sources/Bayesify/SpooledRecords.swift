import BayesFiles
public import BayesPrediction
import Foundation

/// Exit records kept in a temporary file, so that passing over them again costs no pass through
/// the network and no memory.
///
/// - Cost: on the disk, 4 bytes for every feature and logit of every row, and of every position where a row has several.
public final class SpooledRecords: ExitRecordSource {
  private let file: URL
  private let archived: ArchivedExitRecords
  public let description: RecordsDescription

  /// Runs through a source once.
  ///
  /// - Throws: what the source throws; `FileError` when the temporary folder cannot be written.
  public init(_ source: some ExitRecordSource) async throws {
    file = FileManager.default.temporaryDirectory.appending(path: "bayesify-\(UUID().uuidString).h5")
    let writer = try ExitRecordsWriter(source.description, to: HDF5ArchiveWriter(file.path))
    do {
      try await source.forEachChunk { try writer.append($0) }
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    archived = try ArchivedExitRecords(HDF5Archive(file.path))
    description = source.description
  }

  deinit {
    // A file that is left behind is the system's to clean; there is nobody to tell.
    do { try FileManager.default.removeItem(at: file) } catch {}
  }

  public var rowCount: Int { archived.rowCount }
  public var hasLabels: Bool { archived.hasLabels }
  public var hasTargets: Bool { archived.hasTargets }

  public func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws {
    try await archived.forEachChunk(body)
  }

  public func forEachLabels(_ body: ([Int]) throws -> Void) async throws { try await archived.forEachLabels(body) }
}
