// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;

/// What a [CheckpointFormat] found at a path. Whatever the files call things, tensors and config
/// have the names of the hub here.
public interface Container extends AutoCloseable {
    /// Where the files lie that belong to the model beside its weights.
    Path directory();

    HfConfig config();

    /// By name, in file order.
    SequencedMap<String, StoredTensor> tensors();

    /// The open files that the tensors lie in.
    List<OpenFile> files();

    /// What is read otherwise than it stands there, a line each.
    List<String> remarks();

    /// Tensors of the files that [#tensors] has in parts.
    default List<ExpertStack> stacks() {
        return List.of();
    }

    /// Free texts of the files; the first wins.
    Map<String, String> metadata();

    /// The refusal of a tensor that the files promise and lack.
    default Optional<FormatException> lost(String tensor) {
        return Optional.empty();
    }

    /// What a file of the hub, as `tokenizer.json`, would say, where this container holds it inside
    /// of its own.
    default Optional<String> text(String file) {
        return Optional.empty();
    }

    @Override
    default void close() {
        files().forEach(OpenFile::close);
    }
}
