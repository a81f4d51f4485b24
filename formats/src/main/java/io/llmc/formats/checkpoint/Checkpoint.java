// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.Container;
import io.llmc.formats.ExpertStack;
import io.llmc.formats.FormatException;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Json;
import io.llmc.formats.MemoryBudget;
import io.llmc.formats.OpenFile;
import io.llmc.formats.SideFiles;
import io.llmc.formats.StoredTensor;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.safetensors.SafetensorsFiles;
import io.llmc.formats.safetensors.WeightFiles;
import io.llmc.tensor.BlockType;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;

/// An opened model: its config, the table of its tensors over all files, its side files; whatever
/// its format, under the names of the hub.
///
/// Opening reads headers only, and checks them. Tensors are mapped by a [TensorReader].
public final class Checkpoint implements AutoCloseable {
    private final Container container;
    private final HfConfig config;
    private final SequencedMap<String, TensorInfo> infos;

    /// Null for a checkpoint with files of its own.
    private final View view;

    /// Null until asked for.
    private Optional<Quantization> quantized;

    /// How a checkpoint is made of another one.
    private record View(Checkpoint base, Derivation derivation) {}

    /// Makes the tensors of a checkpoint from those of another.
    @FunctionalInterface
    public interface Derivation {
        /// @param name of the new tensor
        /// @param base reads the checkpoint that it is made of; its tensors may be handed on
        /// @param memory lives as long as the reader that asks
        Tensor tensor(String name, TensorReader base, Arena memory);

        /// What tensors that are made at once have in common: by default each is made alone.
        default String together(String name) {
            return name;
        }

        /// All tensors of which [#together] says this.
        default Map<String, Tensor> tensors(String group, TensorReader base, Arena memory) {
            return Map.of(group, tensor(group, base, memory));
        }
    }

    private Checkpoint(
            Container container,
            HfConfig config,
            SequencedMap<String, TensorInfo> infos,
            View view) {
        this.container = container;
        this.config = config;
        this.infos = infos;
        this.view = view;
    }

    private static Checkpoint of(Container container) {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        container.tensors().forEach((name, tensor) -> infos.put(name, tensor.info()));
        return new Checkpoint(container, container.config(), infos, null);
    }

    /// This checkpoint under another config, with other tensors, each made when it is read. It has
    /// no files of its own: closing it closes nothing, and it must not outlive this one.
    ///
    /// @param made in the order of the files that would hold them
    public Checkpoint derived(
            HfConfig otherConfig, SequencedMap<String, TensorInfo> made, Derivation derivation) {
        return new Checkpoint(container, otherConfig, made, new View(this, derivation));
    }

    /// This checkpoint under another config and without some of its tensors. It takes over the open
    /// files: whoever closes it closes this one.
    public Checkpoint without(Set<String> hidden, HfConfig otherConfig) {
        SequencedMap<String, TensorInfo> rest = new LinkedHashMap<>(infos);
        rest.keySet().removeAll(hidden);
        return new Checkpoint(container, otherConfig, rest, view);
    }

    /// A model of which there is a config alone, with the tensors that its files would hold: good
    /// for plans. There is nothing to read.
    public static Checkpoint outline(HfConfig config, SequencedMap<String, TensorInfo> tensors) {
        Derivation nothing =
                (name, _, _) -> {
                    throw new IllegalStateException(name + " is only planned");
                };
        Checkpoint none = of(new ConfigAlone(config));
        return new Checkpoint(none.container, config, tensors, new View(none, nothing));
    }

    /// A container without files.
    private record ConfigAlone(HfConfig config) implements Container {
        @Override
        public Path directory() {
            return config.file().toAbsolutePath().getParent();
        }

        @Override
        public SequencedMap<String, StoredTensor> tensors() {
            return new LinkedHashMap<>();
        }

        @Override
        public List<OpenFile> files() {
            return List.of();
        }

        @Override
        public List<String> remarks() {
            return List.of();
        }

        @Override
        public Map<String, String> metadata() {
            return Map.of();
        }
    }

    /// Opens a model whose linear layers llmc can read.
    ///
    /// @throws UserException where there is no such directory, config or weight file, or the
    ///   weights are quantized in a way that llmc does not read
    /// @throws FormatException where a file is broken
    public static Checkpoint open(Path path) {
        return open(path, null);
    }

    /// As [#open(Path)].
    ///
    /// @param family that it is read as, see [HfConfig#treatedAs(String)]; null for its own
    public static Checkpoint open(Path path, String family) {
        Checkpoint checkpoint = inspect(path, family);
        try {
            checkpoint.quantized();
            return checkpoint;
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    /// As [#open], but whatever the quantization: good for a look at the table of tensors.
    public static Checkpoint inspect(Path path) {
        return inspect(path, null);
    }

    /// As [#inspect(Path)].
    ///
    /// @param family as in [#open(Path, String)]
    public static Checkpoint inspect(Path path, String family) {
        return of(Formats.of(path).open(path, family));
    }

    /// The tensors of one safetensors file, whatever lies beside it: without a config.
    ///
    /// @throws UserException where it cannot be read
    /// @throws FormatException where it is broken
    public static Checkpoint ofFile(Path file) {
        Path directory = file.toAbsolutePath().getParent();
        return of(
                SafetensorsFiles.open(directory, HfConfig.none(file), WeightFiles.of(file), false));
    }

    /// Nothing that was read from a mapped file counts before this has looked; see [OpenFile].
    ///
    /// @throws FormatException where a file became shorter since it was opened
    void requireWhole() {
        container.files().forEach(OpenFile::requireWhole);
    }

    /// What was read otherwise than it stands there, a line each.
    public List<String> remarks() {
        return container.remarks();
    }

    public Path directory() {
        return container.directory();
    }

    /// Tensors of the files of which this has the parts, layer by layer.
    public List<ExpertStack> stacks() {
        return container.stacks();
    }

    public HfConfig config() {
        return config;
    }

    /// In file order: shard by shard, by offset.
    public Set<String> names() {
        return Collections.unmodifiableSet(infos.keySet());
    }

    public boolean has(String name) {
        return infos.containsKey(name);
    }

    /// @throws FormatException where there is no such tensor
    public TensorInfo info(String name) {
        TensorInfo info = infos.get(name);
        if (info == null) {
            throw missing(name);
        }
        return info;
    }

    /// The file that holds a tensor; of one that is made of others, the directory.
    public Path file(String name) {
        return view == null ? stored(name).file().path() : directory();
    }

    /// What a tensor takes in the file.
    public long bytes(String name) {
        return view == null ? stored(name).bytes() : info(name).byteSize();
    }

    /// The blocks in which the file has a matrix; empty for plain values.
    public Optional<BlockType> blocks(String name) {
        return view == null ? stored(name).blocks() : Optional.empty();
    }

    /// Free texts of the files; the first wins.
    public Map<String, String> metadata() {
        return container.metadata();
    }

    /// None of a checkpoint that is made of another.
    public List<Path> weightFiles() {
        return view == null ? container.files().stream().map(OpenFile::path).toList() : List.of();
    }

    /// The files that must travel with any copy of the model, by name: tokenizer, chat template,
    /// generation and processor config, licence and notices. Never weights, never code, never
    /// `config.json`.
    public List<Path> sideFiles() {
        return SideFiles.of(directory());
    }

    /// What a file of the hub, as `tokenizer.json`, would say, where the weights' own file holds
    /// it.
    public Optional<String> text(String file) {
        return container.text(file);
    }

    /// What the config says about quantized weights, or the file beside it that the first tools for
    /// GPTQ and AWQ left instead.
    public Optional<ObjectNode> quantization() {
        return quantizationSection().map(section -> section.values().deepCopy());
    }

    /// Whether weights are packed: as the config says, or since the file has blocks.
    public boolean isQuantized() {
        return quantizationSection().isPresent()
                || names().stream().anyMatch(name -> blocks(name).isPresent());
    }

    private Optional<ConfigSection> quantizationSection() {
        boolean packed = names().stream().anyMatch(n -> n.endsWith(".qweight"));
        if (config.quantization().isPresent() || !packed) {
            return config.quantizationSection();
        }
        return beside(Quantization.FILE, "gptq").or(() -> beside("quant_config.json", "awq"));
    }

    /// @param method whose tools left the file
    private Optional<ConfigSection> beside(String name, String method) {
        Path file = directory().resolve(name);
        if (!Files.isRegularFile(file)) {
            return Optional.empty();
        }
        ObjectNode own = Json.readObject(file);
        if (!own.hasNonNull("quant_method")) {
            own.put("quant_method", method);
        }
        return Optional.of(new ConfigSection(file, "", own));
    }

    /// @throws UserException where llmc cannot read the linear layers
    public void requireReadable() {
        quantized();
    }

    /// Whether llmc can read the linear layers.
    public boolean isReadable() {
        try {
            quantized();
            return true;
        } catch (UserException e) {
            return false;
        }
    }

    /// Bytes that reading a model takes for a tensor beside those that it has, at most.
    public long copied(String name) {
        return packedLinear(name)
                .flatMap(this::packing)
                .map(layout -> layout.copied(this, info(name)))
                .orElseGet(() -> view == null ? stored(name).copied() : 0L);
    }

    /// The linear layer whose packed weight a tensor is a part of.
    public Optional<String> packedLinear(String name) {
        for (int dot = name.lastIndexOf('.'); dot > 0; dot = name.lastIndexOf('.', dot - 1)) {
            String linear = name.substring(0, dot);
            if (packing(linear).isPresent()) {
                return name.equals(linear + ".bias") ? Optional.empty() : Optional.of(linear);
            }
        }
        return Optional.empty();
    }

    private Optional<WeightLayout> packing(String linear) {
        return Layouts.ALL.stream().filter(l -> l.packs() && l.matches(this, linear)).findFirst();
    }

    /// Names of the linear layers whose weights are packed.
    public Set<String> packedLinears() {
        Set<String> linears = new LinkedHashSet<>();
        for (String name : names()) {
            String linear = name.substring(0, Math.max(0, name.lastIndexOf('.')));
            if (blocks(name).isPresent() || packing(linear).isPresent()) {
                linears.add(linear);
            }
        }
        return linears;
    }

    /// How a linear layer is quantized, as the config alone says it; empty where it is plain.
    ///
    /// @throws UserException where linear layers are encoded in a way that llmc does not read
    public Optional<Scheme> scheme(String linear) {
        return quantized().flatMap(q -> q.scheme(linear));
    }

    /// Whether readers will expect a group index of a packed layer that is not sorted.
    public boolean indexed(String linear) {
        return quantized().filter(q -> q.indexed(linear)).isPresent();
    }

    /// How cached keys and values are rounded, as its config says; empty where they are not.
    ///
    /// @throws UserException where linear layers are encoded in a way that llmc does not read
    public Optional<CacheScheme> kvCache() {
        return quantized().flatMap(Quantization::kvCache);
    }

    /// What the config says of packed layers; empty where it says nothing.
    ///
    /// @throws UserException where linear layers are encoded in a way that llmc does not read
    public Optional<Quantization> quantized() {
        synchronized (infos) {
            if (quantized == null) {
                quantized = quantizationSection().map(Quantization::of);
            }
            return quantized;
        }
    }

    /// Whether its tensors are made of another checkpoint's when they are read.
    public boolean isDerived() {
        return view != null;
    }

    /// For a look: what it maps is not counted.
    @MustBeClosed
    public TensorReader reader() {
        return reader(MemoryBudget.NONE);
    }

    /// @param memory counts what is mapped and made
    @MustBeClosed
    public TensorReader reader(MemoryBudget memory) {
        return reader(memory, Holding.MAPPED);
    }

    /// @param memory counts what is mapped, copied and made
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the reader closes the one that it reads from
    public TensorReader reader(MemoryBudget memory, Holding holding) {
        return view == null
                ? new TensorReader(this, null, null, memory, holding)
                : new TensorReader(
                        this, view.base.reader(memory, holding), view.derivation, memory, holding);
    }

    /// A tensor of a checkpoint with files of its own.
    StoredTensor stored(String name) {
        return container.tensors().get(info(name).name());
    }

    private FormatException missing(String name) {
        return container
                .lost(name)
                .orElseGet(() ->
                        new FormatException(
                                directory(), "has no tensor '%s'%s".formatted(name, found(name))));
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
        if (view == null) {
            container.close();
        }
    }
}
