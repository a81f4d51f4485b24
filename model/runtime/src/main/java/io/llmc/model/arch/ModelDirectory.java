// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.TensorTable;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tensor;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/// Opens models whose config.json and tensors may disagree, and settles it as transformers 5 does:
///
/// - A tensor that the config declares and the files lack, or have in another shape, is an error.
/// - A tensor that the config does not declare is not read: in the blocks it is left out of what is
///   made of the model, elsewhere it is carried over.
/// - Where the config ties the output layer to the embedding and the files have another matrix for
///   it, the files win, and the config says so from here on.
///
/// Whatever is not used is said in one line.
public final class ModelDirectory {
    private static final String TIED = "tie_word_embeddings";

    /// The part of a model that a tensor belongs to.
    private static final Pattern MODULE =
            Pattern.compile("(model\\.|language_model\\.)*(layers\\.[0-9]+|[^.]+)");

    private static final Pattern NUMBER = Pattern.compile("([0-9]{1,9})\\.");

    private ModelDirectory() {}

    /// As [Checkpoint#open], with a config that is true of the tensors.
    ///
    /// @param notes hears of everything that is not used, a line each
    /// @throws UserException where the model is not known to llmc
    /// @throws io.llmc.formats.FormatException where a file is broken, or tensors are not what the
    ///   config says
    public static Checkpoint open(Path directory, Consumer<String> notes) {
        return open(directory, null, notes);
    }

    /// @param family that it is read as where it fits exactly; null for its own
    static Checkpoint open(Path directory, String family, Consumer<String> notes) {
        Checkpoint checkpoint = Checkpoint.open(directory, family);
        try {
            return settled(checkpoint, notes);
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    /// A model of which there is a config.json alone: with the tensors that transformers would
    /// save, in the type that the config names, packed as its `quantization_config` says.
    ///
    /// @throws UserException where the model is not known to llmc, or its packed weights tell their
    ///   sizes themselves
    public static Checkpoint outline(Path file) {
        return outline(file, null);
    }

    /// @param family that it is read as where its config fits exactly; null for its own
    static Checkpoint outline(Path file, String family) {
        HfConfig config = HfConfig.read(file).treatedAs(family);
        config.treatedAs().ifPresent(_ -> Fit.require(config, Set.of()));
        return outline(config);
    }

    /// As [#outline(Path)], of a config that has been read.
    public static Checkpoint outline(HfConfig config) {
        ModelSpec spec = Architectures.specOf(config);
        TensorTable table = new TensorTable(spec, Architectures.of(config));
        SequencedMap<String, TensorInfo> plain = new LinkedHashMap<>();
        table.tensors(config.dtype()).forEach(t -> plain.put(t.name(), t));
        Checkpoint c = Checkpoint.outline(config, plain);
        return config.quantization().isEmpty() ? c : packed(c, spec);
    }

    private static Checkpoint packed(Checkpoint c, ModelSpec spec) {
        SequencedMap<String, TensorInfo> tensors = new LinkedHashMap<>();
        Map<String, LinearSpec> linears = new HashMap<>();
        spec.layers().stream()
                .flatMap(layer -> layer.linears(spec.hidden()).stream())
                .forEach(l -> linears.put(l.name() + ".weight", l));
        WeightLayout layout = layout(c);
        for (String name : c.names()) {
            LinearSpec l = linears.get(name);
            Optional<Scheme> scheme = l == null ? Optional.empty() : c.scheme(l.name());
            if (scheme.isEmpty()) {
                tensors.put(name, c.info(name));
                continue;
            }
            if (!(scheme.get().weights() instanceof Encoding.Grid<?> grid)) {
                throw unsized(c);
            }
            var spelled = layout.grid(grid, c.config().dtype());
            boolean indexed = c.indexed(l.name());
            layout.plan(new LayerPlan(l.name(), l.out(), l.in(), scheme.get(), spelled, indexed))
                    .forEach(t -> tensors.put(t.name(), t));
        }
        return Checkpoint.outline(c.config(), tensors);
    }

    private static WeightLayout layout(Checkpoint c) {
        String method = c.quantization().orElseThrow().path("quant_method").asText();
        return Layouts.WRITTEN.stream()
                .filter(layout -> layout.packs() && layout.name().equals(method))
                .findFirst()
                .orElseThrow(() -> unsized(c));
    }

    private static UserException unsized(Checkpoint c) {
        return new UserException(
                "%s: only its weight files say how large packed weights of this kind are"
                        .formatted(c.directory()),
                "download the weights, too, or start from the original's config.json");
    }

    /// An opened checkpoint with a config that is true of its tensors; it takes over the files.
    public static Checkpoint settled(Checkpoint c, Consumer<String> notes) {
        c.remarks().forEach(notes);
        HfConfig config = c.config();
        if (config.treatedAs().isPresent()) {
            notes.accept(Fit.require(c));
            return c;
        }
        ModelSpec spec = Architectures.specOf(c);
        Naming naming = Architectures.naming(config, c.names());
        if (spec.tied() && hasOtherHead(c, spec, naming.storedHead())) {
            notes.accept(
                    "%s: config.json ties the output layer to the embedding, but the files have another matrix for it: %s is used, and %s becomes false"
                            .formatted(c.directory(), naming.storedHead(), TIED));
            config = Architectures.of(config).untied(config);
            spec = Architectures.specOf(config, c.names());
        }
        TensorTable table = new TensorTable(spec, Architectures.of(config));
        table.requireIn(c);
        List<String> inside = new ArrayList<>();
        List<String> outside = new ArrayList<>();
        List<String> travelling = new ArrayList<>();
        Architecture family = Architectures.of(config);
        for (String name : table.unread(c)) {
            if (family.travels(naming.known(name), config)
                    || config.multimodal() && !naming.isInDecoder(name)) {
                travelling.add(name);
            } else if (name.startsWith(table.blocks())) {
                inside.add(name);
            } else if (!spec.tied() || !name.equals(naming.storedHead() + ".weight")) {
                outside.add(name);
            }
        }
        if (!travelling.isEmpty()) {
            notes.accept(
                    "%s: %,d tensors are no part of what predicts the next token of a text (%s): they stay as they are"
                            .formatted(c.directory(), travelling.size(), modules(travelling)));
        }
        if (!inside.isEmpty()) {
            notes.accept(
                    "%s: config.json declares %s: not used, and left out of what is made of the model"
                            .formatted(c.directory(), undeclared(inside, table, spec)));
        }
        if (!outside.isEmpty()) {
            notes.accept(
                    "%s: nothing reads %s, which config.json does not declare: carried over as %s"
                            .formatted(
                                    c.directory(),
                                    named(outside),
                                    outside.size() == 1 ? "it is" : "they are"));
        }
        return inside.isEmpty() && config == c.config()
                ? c
                : c.without(new HashSet<>(inside), config);
    }

    /// As "2 layers, but the files have tensors of layer 2".
    private static String undeclared(List<String> names, TensorTable table, ModelSpec spec) {
        int layers = spec.layers().size();
        SortedSet<Integer> beyond = new TreeSet<>();
        List<String> others = new ArrayList<>();
        for (String name : names) {
            Matcher number = NUMBER.matcher(name).region(table.blocks().length(), name.length());
            if (number.lookingAt() && Integer.parseInt(number.group(1)) >= layers) {
                beyond.add(Integer.parseInt(number.group(1)));
            } else {
                others.add(name);
            }
        }
        String text = others.isEmpty() ? "" : "no " + named(others);
        if (beyond.isEmpty()) {
            return text;
        }
        String more =
                beyond.size() == 1
                        ? "layer " + beyond.first()
                        : "layers %d to %d".formatted(beyond.first(), beyond.last());
        return "%d layers and the files have tensors of %s%s"
                .formatted(layers, more, text.isEmpty() ? "" : ", and " + text);
    }

    /// As "model.visual.*, mtp.*".
    private static String modules(List<String> names) {
        return names.stream()
                .map(name -> MODULE.matcher(name))
                .filter(Matcher::lookingAt)
                .map(m -> m.group() + ".*")
                .distinct()
                .collect(Collectors.joining(", "));
    }

    private static String named(List<String> names) {
        return names.size() == 1
                ? names.getFirst()
                : "%s and %,d more".formatted(names.getFirst(), names.size() - 1);
    }

    /// Whether there is a matrix for the output layer that is not the embedding's.
    static boolean hasOtherHead(Checkpoint c, ModelSpec spec, String head) {
        if (spec.embedding().equals(head)) {
            return false;
        }
        String name = head + ".weight";
        if (!c.has(name)) {
            return Layouts.ALL.stream().anyMatch(layout -> layout.matches(c, head));
        }
        try (TensorReader reader = c.reader()) {
            Tensor matrix = reader.tensor(name);
            Tensor embedding = reader.tensor(spec.embedding() + ".weight");
            return matrix.dtype() != embedding.dtype()
                    || !matrix.shape().equals(embedding.shape())
                    || matrix.bytes().mismatch(embedding.bytes()) != -1;
        }
    }
}
