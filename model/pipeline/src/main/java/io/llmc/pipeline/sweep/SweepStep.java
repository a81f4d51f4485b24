// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.ModelPass;
import io.llmc.pipeline.pass.Pass;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Sample;
import io.llmc.tensor.Scheme;
import io.llmc.tokenizer.CalibrationSpec;
import io.llmc.tokenizer.Windows;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.SequencedMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// One trip over the blocks, from a model directory to another.
///
///     - sweep:
///         - layers: {drop: 2}
///         - gptq: {bits: 4}
///
/// @param modelPasses change the model as a whole, first, one after the other
/// @param passes every one works on a block before the next block is read
/// @param presets that some of the passes come from
public record SweepStep(
        List<ModelPass> modelPasses, List<BlockPass> passes, List<Preset.Use> presets)
        implements Step {
    private static final String KEY = "sweep";

    public SweepStep(List<ModelPass> modelPasses, List<BlockPass> passes) {
        this(modelPasses, passes, List.of());
    }

    public static Factory factory(List<PassFactory> methods) {
        return factory(methods, List.of());
    }

    /// @param methods every method there is
    /// @param presets every preset there is
    public static Factory factory(List<PassFactory> methods, List<Preset> presets) {
        return new Factory(
                KEY,
                "methods that work block by block",
                methods.getFirst().sample(),
                List.of(),
                o -> read(o, methods, presets));
    }

    private static SweepStep read(Options o, List<PassFactory> methods, List<Preset> presets) {
        List<ModelPass> modelPasses = new ArrayList<>();
        List<BlockPass> blocks = new ArrayList<>();
        List<Preset.Use> used = new ArrayList<>();
        for (Options item : o.sections(KEY)) {
            List<Pass> passes = new ArrayList<>();
            if (item.has(Preset.KEY)) {
                used.add(preset(item, presets).expand(item, methods, passes));
            } else {
                passes.add(pass(item, methods));
            }
            for (Pass next : passes) {
                switch (next) {
                    case BlockPass pass -> blocks.add(pass.behind(List.copyOf(blocks)));
                    case ModelPass pass when blocks.isEmpty() -> modelPasses.add(pass);
                    case ModelPass pass ->
                            throw item.error(
                                    Options.camel(pass.name()),
                                    "%s changes the model as a whole, so it must stand before %s"
                                            .formatted(pass.name(), blocks.getFirst().name()));
                }
            }
        }
        if (modelPasses.isEmpty() && blocks.isEmpty()) {
            throw o.error(KEY, "a sweep needs at least one method");
        }
        return new SweepStep(modelPasses, blocks, used);
    }

    private static Preset preset(Options item, List<Preset> presets) {
        String name = item.text(Preset.KEY);
        return presets.stream()
                .filter(preset -> preset.name().equals(name))
                .findFirst()
                .orElseThrow(() ->
                        item.error(
                                Preset.KEY,
                                "unknown preset %s; known: %s"
                                        .formatted(
                                                name,
                                                presets.stream()
                                                        .map(Preset::name)
                                                        .collect(Collectors.joining(", ")))));
    }

    private static Pass pass(Options item, List<PassFactory> methods) {
        for (PassFactory factory : methods) {
            String method = Options.camel(factory.name());
            if (item.keys().contains(method)) {
                return factory.read().apply(item.section(method));
            }
        }
        String key = item.keys().stream().findFirst().orElse("");
        throw item.error(
                key,
                "unknown method %s; known: %s"
                        .formatted(
                                key,
                                methods.stream()
                                        .map(PassFactory::name)
                                        .collect(Collectors.joining(", "))));
    }

    @Override
    public String name() {
        return all().map(Pass::name).distinct().collect(Collectors.joining(", "));
    }

    private Stream<Pass> all() {
        return Stream.concat(modelPasses.stream(), passes.stream());
    }

    @Override
    public Optional<String> usualLayout() {
        return presets.stream().flatMap(use -> use.preset().layout().stream()).findFirst();
    }

    @Override
    public SequencedMap<String, Object> expanded() {
        SequencedMap<String, Object> expanded = new LinkedHashMap<>();
        presets.forEach(use -> expanded.put(use.preset().name(), use.methods()));
        return expanded;
    }

    @Override
    public boolean sweeps() {
        return true;
    }

    @Override
    public boolean rounds() {
        return passes.stream().anyMatch(pass -> pass.solver().isPresent());
    }

    @Override
    public boolean calibrates() {
        return all().anyMatch(Pass::calibrates);
    }

    @Override
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the sweep closes it
    public Sweep plan(Context context) {
        Checkpoint source =
                context.models().open(context.model(), line -> context.progress().note(line));
        try {
            return plan(context, source);
        } catch (RuntimeException e) {
            source.close();
            throw e;
        }
    }

    @MustBeClosed
    private Sweep plan(Context context, Checkpoint source) {
        List<Checkpoint> models = new ArrayList<>(List.of(source));
        List<String> notes = new ArrayList<>();
        for (ModelPass pass : modelPasses) {
            Checkpoint last = models.getLast();
            requirePlain(pass, last);
            ModelPass.Outlined outlined = pass.outline(last, spelling(context));
            notes.addAll(outlined.notes());
            models.add(outlined.checkpoint());
        }
        OutputPlan output = output(context, models.getLast());
        context.recipe().save().reader().ifPresent(reader -> reader.require(output.read()));
        CalibrationSpec calibration = calibrates() ? calibration(context) : null;
        MemoryPlan memory =
                MemoryPlan.of(
                        models,
                        output,
                        this,
                        toppedUp(calibration, models.getLast()),
                        context.backend(),
                        context.memory());
        OptionalLong own =
                calibration == null ? OptionalLong.empty() : CalibrationText.bytes(context);
        own.ifPresent(_ -> notes.add(CalibrationText.note(calibration)));
        sampled(calibration).ifPresent(notes::add);
        notes.addAll(output.notes());
        // More of it is written while the model is open.
        long beside = expertTokens(Architectures.specOf(models.getLast())) > 0 ? memory.bytes() : 0;
        MemoryPlan peak = memory.orMore(beside + own.orElse(0));
        return new Sweep(this, context, source, output, sizes(source, output, peak, notes));
    }

    /// The calibration that it wants: of text that the model writes itself, no window that nobody
    /// would look at.
    CalibrationSpec calibration(Context context) {
        CalibrationSpec asked = context.recipe().calibration();
        return asked.isOwn() && modelPasses.stream().noneMatch(Pass::calibrates)
                ? travelling(asked)
                : asked;
    }

    /// Those of the calibration sequences that go through the blocks: all of them, unless every
    /// pass that looks at them is content with a sample.
    Windows travelling(Windows all) {
        return all == null ? null : all.choose(travelling(all.count(), all.length()));
    }

    /// The same, of what is asked for.
    CalibrationSpec travelling(CalibrationSpec calibration) {
        return calibration == null
                ? null
                : calibration.with(travelling(calibration.samples(), calibration.length()).length);
    }

    private Optional<String> sampled(CalibrationSpec calibration) {
        // Passes over the whole model see all windows.
        if (calibration == null || modelPasses.stream().anyMatch(Pass::calibrates)) {
            return Optional.empty();
        }
        int some = travelling(calibration).samples();
        return some == calibration.samples()
                ? Optional.empty()
                : Optional.of(
                        "%d of %d calibration windows are used: a sample is enough for %s"
                                .formatted(
                                        some,
                                        calibration.samples(),
                                        passes.stream()
                                                .filter(BlockPass::calibrates)
                                                .map(Pass::name)
                                                .collect(Collectors.joining(", "))));
    }

    private int[] travelling(int sequences, int length) {
        int tokens = passes.stream().mapToInt(BlockPass::sampleTokens).max().orElse(0);
        boolean all = tokens == 0 || passes.stream().anyMatch(BlockPass::wantsAllSequences);
        return all
                ? IntStream.range(0, sequences).toArray()
                : Sample.chosen(tokens, sequences, length);
    }

    /// Tokens that its passes want every expert of a model to see; 0 where there is none.
    long expertTokens(ModelSpec spec) {
        return Coverage.routes(spec)
                ? passes.stream().mapToLong(BlockPass::expertTokens).max().orElse(0)
                : 0;
    }

    /// With room for the windows that experts may need.
    private CalibrationSpec toppedUp(CalibrationSpec calibration, Checkpoint model) {
        boolean more = calibration != null && expertTokens(Architectures.specOf(model)) > 0;
        return more
                ? calibration.with(calibration.samples() + TopUp.most(calibration))
                : calibration;
    }

    /// Numbers that a model's tensors stand for.
    static long parameters(Checkpoint c) {
        try (TensorReader reader = c.reader()) {
            return c.names().stream().mapToLong(n -> Layouts.parameters(reader, c.info(n))).sum();
        }
    }

    static ModelPass.Spelling spelling(Context context) {
        return new ModelPass.Spelling(context.recipe().save().layout(), context.toolVersion());
    }

    private static SweepPlan sizes(
            Checkpoint source, OutputPlan output, MemoryPlan memory, List<String> notes) {
        return new SweepPlan(
                List.copyOf(output.modules().values()),
                output.tensors(),
                source.names().stream().mapToLong(n -> source.info(n).byteSize()).sum(),
                output.tensors().stream().mapToLong(TensorInfo::byteSize).sum(),
                parameters(source),
                output.parameters(),
                memory.bytes(),
                memory.spills(),
                List.copyOf(notes));
    }

    /// @param model as the passes find it
    OutputPlan output(Context context, Checkpoint model) {
        WeightLayout layout = context.recipe().save().layout();
        ModelSpec spec = Architectures.specOf(model);
        SequencedMap<String, Scheme> outer = new LinkedHashMap<>();
        modelPasses.forEach(pass -> outer.putAll(pass.outer(spec)));
        return new OutputPlan(model, spec, outer, passes, layout);
    }

    /// A model as passes would write it.
    ///
    /// @param schemes of the linear layers that they quantize
    public record Written(List<TensorInfo> tensors, SequencedMap<String, Scheme> schemes) {}

    /// What becomes of a model's tensors, from headers alone and whatever the calibration.
    ///
    /// @throws UserException where a pass or the layout cannot take the model
    public static Written written(Checkpoint model, List<BlockPass> passes, WeightLayout layout) {
        OutputPlan output =
                new OutputPlan(
                        model, Architectures.specOf(model), new LinkedHashMap<>(), passes, layout);
        return new Written(output.tensors(), output.quantPlan().schemes().byLinear());
    }

    /// @throws UserException where the weights are packed, and the pass wants plain ones
    static void requirePlain(ModelPass pass, Checkpoint c) {
        if (!pass.unpacks()) {
            OutputPlan.requirePlain(c);
        }
    }
}
