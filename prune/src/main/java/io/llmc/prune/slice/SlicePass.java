// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.slice;

import com.fasterxml.jackson.databind.node.DoubleNode;
import io.llmc.backend.Backend;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.HfConfig;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.Architecture;
import io.llmc.model.BranchSpec;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.ModelScope;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.SumTree;
import io.llmc.pipeline.rotation.RotatedModel;
import io.llmc.pipeline.rotation.Rotation;
import io.llmc.pipeline.rotation.Untied;
import io.llmc.solver.Gram;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.Stream;

/// A narrower residual stream: rotated so that its first channels hold most of its variance, then
/// cut. The result is a plain model of the same architecture; a tied head becomes one of its own,
/// since the last norm's weight moves into it.
///
///     - slice: {hidden: 448}
///
/// @param hidden channels that stay
public record SlicePass(int hidden) implements ModelPass {
    private static final Option<Integer> HIDDEN =
            Option.integer("hidden", 0, "Channels of the residual stream that stay.");

    public static final PassFactory FACTORY =
            new PassFactory(
                    "slice",
                    "a narrower residual stream: rotated to its principal directions, then cut",
                    """
                    model: testdata/tale-llama
                    output: out
                    calibration: {data: testdata/tale-llama/calibration.txt, samples: 16, length: 256}
                    steps:
                      - sweep:
                          - slice: {hidden: 224}
                    """,
                    List.of(HIDDEN),
                    SlicePass::read);

    private static SlicePass read(Options o) {
        int hidden = HIDDEN.read(o);
        if (hidden < 1) {
            throw o.error("hidden", "slice needs hidden: the channels that stay");
        }
        return new SlicePass(hidden);
    }

    @Override
    public String name() {
        return "slice";
    }

    @Override
    public boolean calibrates() {
        return true;
    }

    @Override
    public SequencedMap<String, Object> describe() {
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("hidden", hidden);
        return values;
    }

    @Override
    public Checkpoint outline(Checkpoint source) {
        ModelSpec spec = Architectures.specOf(source);
        HfConfig config = config(source, spec);
        String obstacle = obstacle(spec);
        if (obstacle != null) {
            throw new UserException(
                    "a %s cannot be sliced: %s".formatted(spec.modelType(), obstacle),
                    "width and layers make it smaller");
        }
        if (hidden >= spec.hidden()) {
            throw new UserException(
                    "{hidden} %d is not smaller than the model's %d"
                            .formatted(hidden, spec.hidden()),
                    "ask for fewer channels");
        }
        Rotation sizes = Rotation.of(new double[hidden][], spec.hidden());
        return source.derived(
                config,
                new RotatedModel(null, Untied.of(source), sizes, List.of()).infos(),
                (_, _, _) -> {
                    throw new IllegalStateException("an outline has no values");
                });
    }

    /// Why a model cannot be sliced; null where it can.
    static String obstacle(ModelSpec spec) {
        boolean layerNorms =
                Stream.concat(
                                spec.layers().stream()
                                        .flatMap(layer -> layer.branches().stream())
                                        .map(BranchSpec::pre),
                                Stream.ofNullable(spec.finalNorm()))
                        .anyMatch(norm -> norm != null && norm.kind() != NormSpec.Kind.RMS);
        if (layerNorms) {
            return "its LayerNorms subtract the mean over channels, which a rotation mixes";
        }
        if (RotatedModel.obstacle(spec) != null) {
            return RotatedModel.obstacle(spec);
        }
        if (spec.width() != spec.hidden()) {
            return "what its blocks leave to later ones lies beside the stream, whose covariance would hold it";
        }
        if (spec.positionEmbedding() != null) {
            return "it adds learned positions to the stream";
        }
        if (spec.inOutLinears()) {
            return "its weights are stored [in, out]";
        }
        if (spec.embeddingScale() != 1) {
            return "it scales embeddings by the root of the hidden size, which would change";
        }
        return null;
    }

    HfConfig config(Checkpoint source, ModelSpec spec) {
        HfConfig whole = source.config();
        Architecture architecture = Architectures.of(whole);
        HfConfig text =
                architecture
                        .untied(architecture.resized(whole, spec, Map.of(Size.HIDDEN, hidden)))
                        .text();
        // A norm adds eps to the mean over the width, which is larger over fewer channels. Norms of
        // heads read the same key, but their width stays.
        if (spec.layers().stream()
                .flatMap(LayerSpec::bodies)
                .allMatch(body -> body.innerNorms().isEmpty())) {
            double eps = text.decimal("rms_norm_eps", spec.finalNorm().eps());
            text = text.with("rms_norm_eps", DoubleNode.valueOf(eps * spec.hidden() / hidden));
        }
        return whole.withText(text);
    }

    @Override
    public long workBytes(ModelSpec spec, int windows, int length) {
        long d = spec.hidden();
        long rows = Math.min((long) windows * length, 2048);
        return 4 * d * d * SumTree.partials(windows, length) + 4 * rows * d;
    }

    @Override
    public long makingBytes(ModelSpec spec) {
        return RotatedModel.bytes(spec);
    }

    @Override
    public Checkpoint view(ModelScope scope) {
        long start = System.nanoTime();
        LanguageModel model = scope.model();
        int d = model.spec().hidden();
        double[] covariance = scope.remember("covariance", () -> covariance(scope));
        Principal.Directions directions = Principal.of(covariance, d, hidden);
        SequencedMap<String, Object> values = new LinkedHashMap<>();
        values.put("method", name());
        values.put("kept", "%d of %d channels".formatted(hidden, d));
        values.put("variance_kept", directions.share());
        values.put("tokens", (long) scope.windows().count() * scope.windows().length());
        scope.report(
                new ModuleReport(
                        "model",
                        values,
                        (System.nanoTime() - start) / 1e9,
                        warnings(model.spec())));
        Checkpoint source = Untied.of(model.checkpoint());
        RotatedModel rotated =
                new RotatedModel(
                        model.backend(), source, Rotation.of(directions.rows(), d), List.of());
        return source.derived(config(model.checkpoint(), model.spec()), rotated.infos(), rotated);
    }

    private List<String> warnings(ModelSpec spec) {
        List<String> warnings = new ArrayList<>();
        if (spec.tied()) {
            warnings.add(
                    "the head is no longer tied to the embedding: %,d weights more"
                            .formatted((long) spec.vocabulary() * hidden));
        }
        int heads = spec.layers().getFirst().count(Size.HEADS);
        if (heads > 0 && hidden % heads != 0) {
            int below = hidden / heads * heads;
            warnings.add(
                    "%d channels are no multiple of the %d heads, which transformers asks of some families (llama, gemma3); %d or %d would be"
                            .formatted(hidden, heads, below, below + heads));
        }
        return warnings;
    }

    /// Of everything that a norm reads, each token scaled to the same size, as the norm does.
    @SuppressWarnings("MustBeClosed") // closed by the try
    private static double[] covariance(ModelScope scope) {
        LanguageModel model = scope.model();
        Backend backend = model.backend();
        int d = model.spec().hidden();
        int layers = model.spec().layers().size();
        double[] sum = new double[d * d];
        scope.progress().begin("looking at the model for slice", layers);
        try (HiddenStates states = scope.sequences();
                Desk desk =
                        new Desk(backend, backend.newArena(4L * states.chunkRows() * d + 4096))) {
            for (int i = 0; i < layers; i++) {
                try (TensorReader reader = model.checkpoint().reader(model.backend().host());
                        TensorArena weights = model.newBlockArena(i)) {
                    DecoderBlock block = model.block(i, reader, weights);
                    states.prepare(block);
                    for (List<Stage> branch : block.branches()) {
                        add(scope, states, sum, desk);
                        states.advance(branch);
                    }
                }
                scope.progress().advance(1, model.spec().layers().get(i).prefix());
            }
            add(scope, states, sum, desk);
        }
        scope.progress().end();
        return sum;
    }

    private static void add(ModelScope scope, HiddenStates states, double[] sum, Desk d) {
        float eps = scope.model().spec().finalNorm().eps();
        try (SumTree<Tensor, Gram.Sum> sums =
                new SumTree<>(new Gram(scope.model().spec().hidden()), d.backend())) {
            states.forEach((x, chunk) -> {
                try (Desk scratch = d.scratch()) {
                    Tensor normed = scratch.f32(x.rows(), x.cols());
                    d.run(new ForwardOp.RmsNorm(normed, x, null, eps, 0));
                    sums.see(chunk, normed);
                }
            });
            float[] values = d.backend().floats(sums.total().h());
            for (int i = 0; i < sum.length; i++) {
                sum[i] += values[i];
            }
        }
    }
}
