// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.Predicate;

/// An opened model directory: its config, the table of its tensors over all shards, its side files.
///
/// Opening reads headers only, and checks them. Tensors are mapped by a [TensorReader].
public final class Checkpoint implements AutoCloseable {
    private final Path directory;
    private final HfConfig config;
    private final WeightFiles files;
    private final List<OpenFile> open = new ArrayList<>();
    private final Map<String, Place> tensors = new LinkedHashMap<>();
    private final List<Path> opened = new ArrayList<>();
    private final Set<String> remarks = new LinkedHashSet<>();
    private final Map<String, String> metadata = new LinkedHashMap<>();

    /// Null until asked for.
    private Optional<Quantization> scheme;

    /// Of a checkpoint that is made of another one; null otherwise.
    private View view;

    /// @param infos the tensors, in the order of the files that would hold them
    private record View(
            Checkpoint base, SequencedMap<String, TensorInfo> infos, Derivation derivation) {}

    /// Makes the tensors of a checkpoint from those of another.
    @FunctionalInterface
    public interface Derivation {
        /// @param name of the new tensor
        /// @param base reads the checkpoint that it is made of; its tensors may be handed on
        /// @param memory lives as long as the reader that asks
        Tensor tensor(String name, TensorReader base, Arena memory);
    }

    private Checkpoint(Path directory, HfConfig config, WeightFiles files) {
        this.directory = directory;
        this.config = config;
        this.files = files;
    }

    /// This checkpoint under another config, with other tensors, each made when it is read. It has
    /// no files of its own: closing it closes nothing, and it must not outlive this one.
    ///
    /// @param infos in the order of the files that would hold them
    public Checkpoint derived(
            HfConfig otherConfig, SequencedMap<String, TensorInfo> infos, Derivation derivation) {
        Checkpoint derived = new Checkpoint(directory, otherConfig, files);
        derived.view = new View(this, infos, derivation);
        derived.remarks.addAll(remarks);
        return derived;
    }

    /// This checkpoint under another config and without some of its tensors. It takes over the open
    /// files: whoever closes it closes this one.
    public Checkpoint without(Set<String> hidden, HfConfig otherConfig) {
        Checkpoint rest = new Checkpoint(directory, otherConfig, files);
        rest.open.addAll(open);
        rest.opened.addAll(opened);
        rest.remarks.addAll(remarks);
        rest.metadata.putAll(metadata);
        rest.tensors.putAll(tensors);
        rest.tensors.keySet().removeAll(hidden);
        return rest;
    }

    /// Opens a directory whose linear layers llmc can read.
    ///
    /// @throws UserException where there is no such directory, config or safetensors file, or the
    ///   weights are quantized in a way that llmc does not read
    /// @throws FormatException where a file is broken
    public static Checkpoint open(Path directory) {
        Checkpoint checkpoint = inspect(directory);
        try {
            checkpoint.scheme();
            return checkpoint;
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    /// As [#open], but whatever the quantization: good for a look at the table of tensors.
    public static Checkpoint inspect(Path directory) {
        if (!Files.isDirectory(directory)) {
            throw Files.exists(directory)
                    ? new UserException(
                            directory + ": is a file, expected a model directory",
                            "name the directory that holds config.json and the .safetensors files")
                    : new UserException(
                            directory + ": no such directory",
                            "download the model first and name the directory, for example: hf"
                                    + " download NAME --local-dir DIRECTORY");
        }
        Path config = directory.resolve("config.json");
        FileKind.requireFile(config);
        if (!Files.isRegularFile(config)) {
            if (Files.isRegularFile(directory.resolve("adapter_config.json"))) {
                throw new UserException(
                        directory + ": holds an adapter, expected a whole model",
                        "name the model that it was made for, or merge the two first");
            }
            throw new UserException(
                    directory + ": no config.json here",
                    "name the directory that holds config.json and the .safetensors files");
        }
        Checkpoint checkpoint =
                new Checkpoint(directory, HfConfig.read(config), WeightFiles.find(directory));
        try {
            checkpoint.readHeaders();
            checkpoint.useHubNames();
            return checkpoint;
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    /// The tensors of one safetensors file, whatever lies beside it: without a config.
    ///
    /// @throws UserException where it cannot be read
    /// @throws FormatException where it is broken
    public static Checkpoint ofFile(Path file) {
        Path directory = file.toAbsolutePath().getParent();
        Checkpoint checkpoint =
                new Checkpoint(directory, HfConfig.none(file), WeightFiles.of(file));
        try {
            checkpoint.readHeaders();
            return checkpoint;
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    /// What no shard has may be nothing that the model needs, so that whoever asks for it finds
    /// out.
    private void readHeaders() {
        files.files().forEach(file -> read(file, header -> true));
        Set<String> lost = new LinkedHashSet<>(files.promised().keySet());
        lost.removeAll(tensors.keySet());
        if (!lost.isEmpty()) {
            files.others().forEach(file -> read(file, lost::contains));
        }
    }

    /// @param wanted the tensors to add
    private void read(Path file, Predicate<String> wanted) {
        try {
            OpenFile whole = OpenFile.of(file);
            open.add(whole);
            SafetensorsHeader header = SafetensorsHeader.read(file, whole.channel());
            if (header.tensors().keySet().stream().anyMatch(wanted) || header.tensors().isEmpty()) {
                opened.add(file);
            }
            header.metadata().forEach(metadata::putIfAbsent);
            header.tensors()
                    .forEach((name, e) -> {
                        if (wanted.test(name)) {
                            add(name, new Place(e, whole));
                        }
                    });
        } catch (IOException e) {
            throw Json.unreadable(file, e);
        }
    }

    /// Some writers put a tied matrix into two shards: the same bytes twice are one tensor.
    private void add(String name, Place place) {
        Place other = tensors.putIfAbsent(name, place);
        if (other != null && !sameBytes(place, other)) {
            throw new FormatException(
                    place.file().path(),
                    "tensor '%s' is also in %s, with other values: download the model again"
                            .formatted(name, other.file().path().getFileName()));
        }
    }

    private static boolean sameBytes(Place a, Place b) {
        try (Arena arena = Arena.ofConfined()) {
            return a.entry().info().equals(b.entry().info())
                    && a.map(arena).mismatch(b.map(arena)) < 0;
        }
    }

    private void useHubNames() {
        SequencedMap<String, String> hub = TensorNames.ofHub(directory, tensors.keySet());
        Map<String, Place> places = new LinkedHashMap<>(tensors);
        tensors.clear();
        hub.forEach((name, plain) -> tensors.put(plain, places.get(name).called(plain)));
        places.values().stream()
                .map(place -> place.entry().info())
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

    /// Nothing that was read from a mapped file counts before this has looked; see [OpenFile].
    ///
    /// @throws FormatException where a file became shorter since it was opened
    void requireWhole() {
        if (view != null) {
            view.base.requireWhole();
        }
        open.forEach(OpenFile::requireWhole);
    }

    /// What was read otherwise than it stands there, a line each.
    public List<String> remarks() {
        return List.copyOf(remarks);
    }

    public Path directory() {
        return directory;
    }

    public HfConfig config() {
        return config;
    }

    /// In file order: shard by shard, by offset.
    public Set<String> names() {
        return Collections.unmodifiableSet(view == null ? tensors.keySet() : view.infos.keySet());
    }

    public boolean has(String name) {
        return names().contains(name);
    }

    /// @throws FormatException where there is no such tensor
    public TensorInfo info(String name) {
        if (view == null) {
            return place(name).entry().info();
        }
        TensorInfo info = view.infos.get(name);
        if (info == null) {
            throw missing(name);
        }
        return info;
    }

    /// The file that holds a tensor; of one that is made of others, the directory.
    public Path file(String name) {
        return view == null ? place(name).file().path() : directory;
    }

    /// `__metadata__` of all files; the first wins.
    public Map<String, String> metadata() {
        return Collections.unmodifiableMap(metadata);
    }

    public List<Path> weightFiles() {
        return Collections.unmodifiableList(opened);
    }

    /// The files that must travel with any copy of the model, by name: tokenizer, chat template,
    /// generation and processor config, licence and notices. Never weights, never code, never
    /// `config.json`.
    public List<Path> sideFiles() {
        return SideFiles.of(directory);
    }

    /// What the config says about quantized weights, or the `quantize_config.json` that older GPTQ
    /// tools left instead.
    public Optional<ObjectNode> quantization() {
        return quantizationSection().map(section -> section.values().deepCopy());
    }

    private Optional<ConfigSection> quantizationSection() {
        Path older = directory.resolve(GptqConfig.FILE);
        boolean packed = names().stream().anyMatch(n -> n.endsWith(".qweight"));
        if (config.quantization().isPresent() || !packed || !Files.isRegularFile(older)) {
            return config.quantizationSection();
        }
        ObjectNode own = Json.readObject(older);
        if (!own.hasNonNull("quant_method")) {
            own.put("quant_method", "gptq");
        }
        return Optional.of(new ConfigSection(older, "", own));
    }

    /// Whether llmc can read the linear layers.
    public boolean isReadable() {
        try {
            scheme();
            return true;
        } catch (UserException e) {
            return false;
        }
    }

    /// Names of the linear layers whose weights are packed.
    public Set<String> packedLinears() {
        Set<String> linears = new LinkedHashSet<>();
        for (String name : names()) {
            String linear = name.substring(0, Math.max(0, name.lastIndexOf('.')));
            if (Layouts.ALL.stream()
                    .anyMatch(l -> !l.name().equals("dense") && l.matches(this, linear))) {
                linears.add(linear);
            }
        }
        return linears;
    }

    /// @throws UserException where linear layers are encoded in a way that llmc does not read
    Optional<Quantization> scheme() {
        synchronized (tensors) {
            if (scheme == null) {
                scheme = quantizationSection().flatMap(Quantization::of);
            }
            return scheme;
        }
    }

    /// For a look: what it maps is not counted.
    @MustBeClosed
    public TensorReader reader() {
        return reader(MemoryBudget.NONE);
    }

    /// @param memory counts what is mapped and made
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the reader closes the one that it reads from
    public TensorReader reader(MemoryBudget memory) {
        return view == null
                ? new TensorReader(this, null, null, memory)
                : new TensorReader(this, view.base.reader(memory), view.derivation, memory);
    }

    /// The bytes of one tensor, read-only, mapped for as long as `arena` lives.
    MemorySegment map(String name, Arena arena) {
        return place(name).map(arena);
    }

    private Place place(String name) {
        Place place = tensors.get(name);
        if (place == null) {
            throw missing(name);
        }
        return place;
    }

    private FormatException missing(String name) {
        return files.promised().containsKey(name)
                ? files.lost(name)
                : new FormatException(
                        directory, "has no tensor '%s'%s".formatted(name, found(name)));
    }

    /// What there is in the place of a tensor that is missing, for the end of a sentence.
    String found(String missing) {
        return names().stream()
                .filter(name -> name.endsWith("." + missing))
                .findFirst()
                .map(
                        "; it has '%s', under a prefix that llmc does not know: save it without"
                                ::formatted)
                .or(() ->
                        names().stream()
                                .findFirst()
                                .map(", but '%s' and others: is this the whole model?"::formatted))
                .orElse(": it has none at all");
    }

    @Override
    public void close() {
        for (OpenFile file : open) {
            file.close();
        }
    }
}
