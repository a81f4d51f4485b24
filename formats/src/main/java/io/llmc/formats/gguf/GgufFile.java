// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import io.llmc.formats.ConfigSection;
import io.llmc.formats.Container;
import io.llmc.formats.HfConfig;
import io.llmc.formats.OpenFile;
import io.llmc.formats.StoredTensor;
import io.llmc.formats.TensorInfo;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;

/// An open GGUF file, in the words of the hub.
final class GgufFile implements Container {
    private final OpenFile file;
    private final HfConfig config;
    private final SequencedMap<String, StoredTensor> tensors = new LinkedHashMap<>();

    /// @param family that it is read as; null for its own
    GgufFile(OpenFile file, String family) {
        this.file = file;
        GgufHeader header = GgufHeader.read(file);
        ConfigSection metadata = header.metadata();
        GgufArchitecture architecture = GgufArchitecture.of(metadata);
        this.config =
                HfConfig.of(file.path(), architecture.config(metadata, header.tensors()))
                        .treatedAs(family);
        header.tensors()
                .values()
                .forEach(entry -> {
                    String name = architecture.hubName(metadata, entry.name());
                    TensorInfo info = new TensorInfo(name, entry.type().dtype(), entry.shape());
                    int heads = architecture.interleavedHeads(metadata, entry);
                    tensors.put(name, new GgufTensor(info, entry, file, heads));
                });
    }

    @Override
    public Path directory() {
        Path parent = file.path().getParent();
        return parent == null ? Path.of(".") : parent;
    }

    @Override
    public HfConfig config() {
        return config;
    }

    @Override
    public SequencedMap<String, StoredTensor> tensors() {
        return Collections.unmodifiableSequencedMap(tensors);
    }

    @Override
    public List<OpenFile> files() {
        return List.of(file);
    }

    @Override
    public List<String> remarks() {
        return List.of();
    }

    /// Reads the head again: vocabularies are large, and few ask for them.
    @Override
    public Optional<String> text(String name) {
        return switch (name) {
            case "tokenizer.json" -> tokenizer().json();
            case "generation_config.json" -> Optional.of(tokenizer().ends());
            case "tokenizer_config.json" -> Optional.of(tokenizer().settings());
            default -> Optional.empty();
        };
    }

    private GgufTokenizer tokenizer() {
        return new GgufTokenizer(GgufHeader.read(file).metadata());
    }

    @Override
    public Map<String, String> metadata() {
        return Map.of();
    }
}
