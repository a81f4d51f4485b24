// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import io.llmc.formats.Container;
import io.llmc.formats.ExpertStack;
import io.llmc.formats.FormatException;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Json;
import io.llmc.formats.Mxfp4Stack;
import io.llmc.formats.OpenFile;
import io.llmc.formats.StoredTensor;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.Predicate;

/// The open safetensors files of one model, as one table of tensors.
public final class SafetensorsFiles implements Container {
    private final Path directory;
    private HfConfig config;
    private final WeightFiles files;
    private final List<OpenFile> open = new ArrayList<>();
    private final SequencedMap<String, SafetensorsTensor> whole = new LinkedHashMap<>();
    private final SequencedMap<String, StoredTensor> tensors = new LinkedHashMap<>();
    private final List<ExpertStack> stacks = new ArrayList<>();
    private final List<Mxfp4Stack> packed = new ArrayList<>();
    private final List<String> remarks = new ArrayList<>();
    private final Map<String, String> metadata = new LinkedHashMap<>();

    private SafetensorsFiles(Path directory, HfConfig config, WeightFiles files) {
        this.directory = directory;
        this.config = config;
        this.files = files;
    }

    /// @param hubNames whether tensors get the names of the hub
    public static SafetensorsFiles open(
            Path directory, HfConfig config, WeightFiles weights, boolean hubNames) {
        SafetensorsFiles files = new SafetensorsFiles(directory, config, weights);
        try {
            files.readHeaders();
            if (hubNames) {
                files.useHubNames();
                HfConfig text = config.text();
                String type = text.has("model_type") ? text.modelType() : "";
                files.stacks.addAll(ExpertStack.of(type, files.infos()));
                files.usePlainExperts();
            }
            files.takeApart();
            return files;
        } catch (RuntimeException e) {
            files.close();
            throw e;
        }
    }

    /// What no shard has may be nothing that the model needs, so that whoever asks for it finds
    /// out.
    private void readHeaders() {
        files.files().forEach(file -> read(file, _ -> true));
        Set<String> lost = new LinkedHashSet<>(files.promised().keySet());
        lost.removeAll(whole.keySet());
        if (!lost.isEmpty()) {
            files.others().forEach(file -> read(file, lost::contains));
        }
    }

    /// @param wanted the tensors to add; a file that has others only is not kept open
    private void read(Path file, Predicate<String> wanted) {
        try {
            OpenFile whole = OpenFile.of(file);
            open.add(whole);
            SafetensorsHeader header = SafetensorsHeader.read(file, whole.channel());
            header.metadata().forEach(metadata::putIfAbsent);
            Set<String> names = header.tensors().keySet();
            if (!names.isEmpty() && names.stream().noneMatch(wanted)) {
                open.removeLast().close();
            }
            header.tensors()
                    .forEach((name, e) -> {
                        if (wanted.test(name)) {
                            add(name, new SafetensorsTensor(e.info(), e, whole));
                        }
                    });
        } catch (IOException e) {
            throw Json.unreadable(file, e);
        }
    }

    /// Some writers put a tied matrix into two shards: the same bytes twice are one tensor.
    private void add(String name, SafetensorsTensor tensor) {
        SafetensorsTensor other = whole.putIfAbsent(name, tensor);
        if (other != null && !sameBytes(tensor, other)) {
            throw new FormatException(
                    tensor.file().path(),
                    "tensor '%s' is also in %s, with other values: download the model again"
                            .formatted(name, other.file().path().getFileName()));
        }
    }

    private static boolean sameBytes(SafetensorsTensor a, SafetensorsTensor b) {
        try (Arena arena = Arena.ofConfined()) {
            return a.info().equals(b.info()) && a.read(arena).mismatch(b.read(arena)) < 0;
        }
    }

    private void useHubNames() {
        SequencedMap<String, String> hub =
                TensorNames.ofHub(directory, whole.keySet(), config.multimodal());
        SequencedMap<String, SafetensorsTensor> found = new LinkedHashMap<>(whole);
        whole.clear();
        hub.forEach((name, plain) -> whole.put(plain, found.get(name).called(plain)));
        found.values().stream()
                .map(SafetensorsTensor::info)
                .filter(info -> info.dtype() == DType.F64)
                .findFirst()
                .ifPresent(info ->
                        remarks.add(
                                "%s: '%s' is F64: such tensors are read, and written, as F32"
                                        .formatted(directory, info.name())));
        hub.entrySet().stream()
                .filter(e -> !e.getKey().equals(e.getValue()))
                .findFirst()
                .ifPresent(e ->
                        remarks.add(
                                "%s: '%s' is read, and written, as '%s', and its like so too"
                                        .formatted(directory, e.getKey(), e.getValue())));
    }

    private void usePlainExperts() {
        packed.addAll(Mxfp4Stack.of(config, infos()));
        packed.forEach(p -> stacks.add(p.stack()));
        if (!packed.isEmpty()) {
            config = config.with("quantization_config", null);
            remarks.add(
                    "%s: its experts, packed as MXFP4, are read as the BF16 values that they stand for"
                            .formatted(directory));
        }
    }

    private Map<String, TensorInfo> infos() {
        Map<String, TensorInfo> infos = new LinkedHashMap<>();
        whole.forEach((name, t) -> {
            if (t.isMapped()) {
                infos.put(name, t.info());
            }
        });
        return infos;
    }

    /// The parts of a tensor stand in its place.
    private void takeApart() {
        Map<String, ExpertStack> byName = new HashMap<>();
        stacks.forEach(stack -> byName.put(stack.name(), stack));
        Map<String, Mxfp4Stack> packedByName = new HashMap<>();
        packed.forEach(p -> packedByName.put(p.blocks(), p));
        packed.forEach(p -> packedByName.put(p.scales(), p));
        whole.forEach((name, t) -> {
            Mxfp4Stack blocks = packedByName.get(name);
            if (blocks != null) {
                takeApart(blocks, name, t);
                return;
            }
            ExpertStack stack = byName.get(name);
            if (stack == null) {
                tensors.put(name, t);
                return;
            }
            for (ExpertStack.Part part : stack.parts(t.info().shape().dim(0))) {
                put(name, t, ExpertTensor.of(t, part));
            }
        });
    }

    private void takeApart(Mxfp4Stack stack, String name, SafetensorsTensor blocks) {
        if (name.equals(stack.blocks())) {
            for (ExpertStack.Part part : stack.stack().parts(blocks.info().shape().dim(0))) {
                put(name, blocks, Mxfp4Tensor.of(stack, part, blocks, whole.get(stack.scales())));
            }
        }
    }

    /// A part, in the place of what it is a part of.
    private void put(String name, SafetensorsTensor t, StoredTensor part) {
        if (tensors.put(part.info().name(), part) != null
                || whole.containsKey(part.info().name())) {
            throw new FormatException(
                    t.file().path(),
                    "'%s' has experts' layers that are there by themselves, too: '%s'"
                            .formatted(name, part.info().name()));
        }
    }

    @Override
    public List<ExpertStack> stacks() {
        return List.copyOf(stacks);
    }

    @Override
    public Path directory() {
        return directory;
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
        return Collections.unmodifiableList(open);
    }

    @Override
    public List<String> remarks() {
        return List.copyOf(remarks);
    }

    @Override
    public Map<String, String> metadata() {
        return Collections.unmodifiableMap(metadata);
    }

    @Override
    public Optional<FormatException> lost(String tensor) {
        return files.promised().containsKey(tensor)
                ? Optional.of(files.lost(tensor))
                : Optional.empty();
    }
}
