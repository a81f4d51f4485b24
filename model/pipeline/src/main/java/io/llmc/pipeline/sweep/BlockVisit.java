// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.GridSpec;
import io.llmc.formats.UserException;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.Replacement;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.CacheInput;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.LayerInput;
import io.llmc.pipeline.pass.Observer;
import io.llmc.pipeline.pass.PairedStates;
import io.llmc.pipeline.pass.Sample;
import io.llmc.pipeline.pass.SumTree;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/// A block under work: how far into it the sequences are, and what the pass whose turn it is may
/// touch. Stages are advanced in order, each once.
final class BlockVisit implements BlockScope {
    private final LanguageModel model;
    private final OutputPlan plan;
    private final HiddenStates states;

    /// Null where no pass compares.
    private final OriginalBlock original;

    private final Path inputs;
    private final int index;
    private final Desk desk;
    private final List<ModuleReport> reports = new ArrayList<>();

    /// Of layers that have been packed, what they were, by name.
    private final Map<String, Weight> plain = new HashMap<>();

    private DecoderBlock block;

    /// The pass whose turn it is, and how many have been before it.
    private BlockPass pass;

    private int passesDone;

    private double[] survey;

    /// Stages that the sequences have been through.
    private int advanced;

    /// Whether the inputs will be wanted again, are kept already, and lie on the device.
    private boolean goesBack;

    private boolean kept;

    private boolean marked;

    /// @param inputs a file for the block's inputs while several passes work on it
    BlockVisit(
            LanguageModel model,
            OutputPlan plan,
            Sequences sequences,
            Path inputs,
            int index,
            DecoderBlock block,
            TensorArena arena) {
        this.model = model;
        this.plan = plan;
        this.states = sequences.compressed();
        this.inputs = inputs;
        this.index = index;
        this.block = block;
        this.desk = new Desk(model.backend(), arena);
        HiddenStates originals = sequences.originals();
        this.original = originals == null ? null : new OriginalBlock(model, originals, block);
        prepare();
    }

    private void prepare() {
        if (states != null) {
            states.prepare(block);
        }
    }

    /// Makes it this pass's turn.
    ///
    /// @param before how many passes have been there
    /// @param found by its survey; null where it has made none
    /// @param returns whether the block's inputs will be wanted again after it has advanced
    void turn(BlockPass next, int before, double[] found, boolean returns) {
        pass = next;
        goesBack = returns;
        passesDone = before;
        survey = found;
    }

    List<ModuleReport> reports() {
        return reports;
    }

    /// Where several passes look into the original's block.
    void keepOriginals() {
        original.keepInputs();
    }

    /// For [#rewind]: on the device where the sequences are there, else in a file.
    private void keepInputs() {
        kept = true;
        marked = states.resident();
        if (marked) {
            states.mark();
        } else {
            states.saveTo(inputs);
        }
    }

    /// Puts the sequences before the block again.
    void rewind() {
        if (advanced == 0) {
            return;
        }
        if (marked) {
            states.rewind();
            states.mark();
        } else if (!states.restore(inputs)) {
            throw new IllegalStateException(inputs + " is damaged");
        }
        advanced = 0;
    }

    /// Puts the sequences behind the block.
    void finish() {
        if (states != null) {
            List<Stage> left = block.stages().subList(advanced, block.stages().size());
            Unpacked.advance(states, left, model.backend());
        }
        if (original != null) {
            original.behind();
        }
    }

    @Override
    public int index() {
        return index;
    }

    @Override
    public DecoderBlock block() {
        return block;
    }

    @Override
    public ModelSpec spec() {
        return plan.spec(passesDone);
    }

    @Override
    public boolean selected(Linear layer) {
        return plan.selects(pass, layer.name());
    }

    @Override
    public Desk desk() {
        return desk;
    }

    @Override
    public <C extends Codes> GridSpec<C> grid(Linear layer, Encoding.Grid<C> grid) {
        return plan.grid(layer.name(), grid);
    }

    @Override
    public double[] survey() {
        return survey;
    }

    @Override
    public Weight plain(Linear layer) {
        return plain.getOrDefault(layer.name(), layer.weight());
    }

    @Override
    public HiddenStates inputs() {
        if (states == null || advanced > 0) {
            throw new IllegalStateException(pass.name() + " asks for inputs that have gone on");
        }
        return states;
    }

    @Override
    public HiddenStates originals() {
        return original.behind();
    }

    @Override
    public void replace(Linear layer, Weight weight) {
        replace(
                layer,
                weight,
                plan.scheme(layer.name())
                        .flatMap(Scheme::inputs)
                        .map(InputRounding::dynamic)
                        .orElse(null));
    }

    @Override
    public void replace(Linear layer, Weight weight, InputRounding rounding) {
        Weight written = asWritten(layer.name(), weight);
        if (layer.weight() instanceof Weight.Dense && !(written instanceof Weight.Dense)) {
            plain.putIfAbsent(layer.name(), layer.weight());
        }
        if (written instanceof Weight.Dense) {
            layer.replace(written);
        } else {
            layer.replace(written, rounding);
        }
    }

    @Override
    public Optional<Scheme> scheme(Linear layer) {
        return plan.scheme(layer.name());
    }

    @Override
    public Optional<Scheme> planned(Linear layer) {
        return plan.modules().get(layer.name()).scheme();
    }

    /// A layer's new weight as a reader of the output will see it.
    private Weight asWritten(String linear, Weight weight) {
        if (plan.encoded(linear).isEmpty() || !plan.isDense(linear)) {
            return weight;
        }
        DType dtype = plan.encoded(linear).getFirst().dtype();
        Tensor values;
        if (weight instanceof Weight.Dense(Tensor own)) {
            values = own;
        } else {
            Shape shape = new Shape(weight.outFeatures(), weight.inFeatures());
            values = arena().allocate(DType.F32, shape);
            run(new CompressionOp.Dequantize(values, weight));
        }
        if (values.dtype() == dtype) {
            return new Weight.Dense(values);
        }
        Tensor rounded = arena().allocate(dtype, values.shape());
        run(new ForwardOp.Scale(rounded, values, 1));
        return new Weight.Dense(rounded);
    }

    @Override
    public Replacement replacement() {
        return new Replacement(block, model.checkpoint().directory());
    }

    @Override
    public void reshape(Replacement parameters) {
        rewind();
        rebuild(plan.spec(passesDone + 1).layers().get(index), parameters);
    }

    @Override
    public void rescale(Map<ScaleGroup, float[]> factors) {
        List<String> behind =
                block.stages().subList(0, advanced).stream()
                        .flatMap(stage -> stage.linears().stream())
                        .map(Linear::name)
                        .toList();
        Replacement parameters = replacement();
        factors.forEach((group, each) -> {
            if (touched(group).anyMatch(behind::contains)) {
                throw new IllegalStateException(
                        pass.name() + " must scale channels before the sequences have met them");
            }
            parameters.rescale(group, each, desk);
        });
        rebuild(block.spec(), parameters);
        if (original != null) {
            original.rescale(factors, desk);
        }
    }

    private static Stream<String> touched(ScaleGroup group) {
        Stream<String> makes =
                group.source() instanceof ScaleGroup.Rows rows
                        ? Stream.of(rows.rows().linear())
                        : Stream.of();
        return Stream.concat(makes, group.readers().stream());
    }

    @Override
    @MustBeClosed
    public <S> SumTree<CacheInput, S> observeCache(Stage stage, Observer<CacheInput, S> observer) {
        requireNext(stage);
        return states.observeCache(stage, observer);
    }

    @Override
    public void roundCache(CacheSpec cache, float[] keys, float[] values) {
        DType type = plan.cacheType(block.spec());
        Replacement parameters = replacement();
        parameters.cache(
                cache,
                pass.cache().orElseThrow(),
                scales(cache, keys, type),
                scales(cache, values, type));
        rebuild(block.spec(), parameters);
    }

    private Tensor scales(CacheSpec cache, float[] values, DType type) {
        for (float v : values) {
            float held = Floats.round(v, type);
            if (!(held > 0) || Float.isInfinite(held)) {
                throw new UserException(
                        "a scale of the KV cache of %s is %s, which %s cannot hold"
                                .formatted(cache.attention(), v, type),
                        "leave the KV cache as it is");
            }
        }
        Tensor wide = desk.floats(values);
        Tensor scales = desk.allocate(type, values.length);
        run(new ForwardOp.Scale(scales, wide, 1));
        return scales;
    }

    private void rebuild(LayerSpec layer, Replacement parameters) {
        block = model.block(layer, parameters);
        for (Linear linear : block.linears()) {
            replace(linear, linear.weight(), linear.rounding());
        }
        prepare();
    }

    @Override
    public int sequenceLength() {
        return states.windows().length();
    }

    @Override
    @MustBeClosed
    public <S> SumTree<LayerInput, S> observe(Stage stage, Observer<LayerInput, S> observer) {
        requireNext(stage);
        return states.observe(stage, observer);
    }

    @Override
    @MustBeClosed
    public Sample sample(int tokens) {
        requirePlanned(tokens, pass.sampleTokens());
        return states.sample(block, tokens, false);
    }

    @Override
    @MustBeClosed
    public Sample trials(int tokens) {
        requirePlanned(tokens, pass.trialTokens());
        return states.sample(block, tokens, true);
    }

    private void requirePlanned(int tokens, int planned) {
        if (states == null || advanced > 0 || tokens > planned) {
            throw new IllegalStateException(
                    pass.name() + " samples sequences that it did not plan or has advanced");
        }
    }

    @Override
    @MustBeClosed
    public <S> SumTree<LayerInput, S> observePairs(Stage stage, Observer<LayerInput, S> observer) {
        requireNext(stage);
        Stage theirs = original.before(advanced);
        return new PairedStates(states, original.states()).observe(stage, theirs, observer);
    }

    @Override
    public void advance(Stage stage) {
        requireNext(stage);
        if (goesBack && !kept) {
            keepInputs();
        }
        Unpacked.advance(states, List.of(stage), model.backend());
        advanced++;
    }

    private void requireNext(Stage stage) {
        if (states == null || !block.stages().get(advanced).equals(stage)) {
            throw new IllegalStateException(
                    pass.name() + " must observe and advance the stages of a block in order");
        }
    }

    @Override
    public void report(ModuleReport report) {
        reports.add(report);
    }
}
