// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.Desk;
import io.llmc.backend.Op;
import io.llmc.backend.TensorArena;
import io.llmc.formats.GridSpec;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.model.language.Replacement;
import io.llmc.model.structure.CacheSpec;
import io.llmc.model.structure.ScaleGroup;
import io.llmc.pipeline.ModuleReport;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Weight;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// Everything a pass may touch while it works on one block.
public interface BlockScope {
    int index();

    /// The block as the passes before have left it.
    DecoderBlock block();

    default List<Stage> stages() {
        return block().stages();
    }

    /// ByteSize of the model as the passes before have left it.
    ModelSpec spec();

    /// Whether the pass's targets select this layer.
    boolean selected(Linear layer);

    /// The device, and memory that lives until the block has been written; replaced weights go
    /// there.
    Desk desk();

    default void run(Op op) {
        desk().run(op);
    }

    default Backend backend() {
        return desk().backend();
    }

    default TensorArena arena() {
        return desk().arena();
    }

    /// Gives a layer its compressed weight, in the form in which it will be written: what the
    /// sequences see from here on is what a reader of the output will see.
    void replace(Linear layer, Weight weight);

    /// The same for a layer whose inputs are rounded with numbers that calibration has found.
    ///
    /// @param rounding as [#scheme] says; null where inputs stay as they are
    void replace(Linear layer, Weight weight, InputRounding rounding);

    /// How the layer will be quantized in the output, by whichever pass of the sweep; empty where
    /// it will be plain.
    Optional<Scheme> scheme(Linear layer);

    /// How a pass of this sweep rounds the layer, also where the output will hold plain values.
    Optional<Scheme> planned(Linear layer);

    /// The weight that a layer had before a rounding pass packed it; what it has where none did.
    Weight plain(Linear layer);

    /// The sequences before the block, as the compressed blocks before it have given them. Only
    /// until a stage is advanced.
    HiddenStates inputs();

    /// The same sequences behind this block of the original model, which has seen nothing of what
    /// passes did; null where no pass [compares][BlockPass#compares].
    HiddenStates originals();

    /// Puts a block of the sizes that the pass has promised in this one's place. The sequences go
    /// back before the block, whatever has been advanced.
    void reshape(Replacement parameters);

    /// A replacement that so far equals the block.
    Replacement replacement();

    /// Multiplies channels where they are made and divides them where they are read. The sequences
    /// stay where they are, so the stages that make and read the channels must be ahead of them;
    /// [#stages] are others from here on.
    ///
    /// @param factors of the channels of each group; none is 0
    void rescale(Map<ScaleGroup, float[]> factors);

    /// Adds up the keys and values of a stage that makes some. The stages before it must have been
    /// advanced.
    @MustBeClosed
    <S> SumTree<CacheInput, S> observeCache(Stage stage, Observer<CacheInput, S> observer);

    /// Rounds keys and values from here on, as [BlockPass#cache] says; the stage that makes them
    /// must be ahead of the sequences. [#stages] are others from here on.
    ///
    /// @param keys scales, one or one for each head; they are rounded to the type of the model
    /// @param values likewise
    void roundCache(CacheSpec cache, float[] keys, float[] values);

    /// What [BlockPass#survey] said of every block; null where the pass does not survey.
    double[] survey();

    /// A grid as the output will hold it for a layer.
    <C extends Codes> GridSpec<C> grid(Linear layer, Encoding.Grid<C> grid);

    /// Tokens of one calibration sequence; the inputs of a stage are whole sequences, but those of
    /// experts are not.
    int sequenceLength();

    /// Adds up the inputs of a stage's layers over all calibration sequences. The stages before it
    /// must have been advanced.
    @MustBeClosed
    <S> SumTree<LayerInput, S> observe(Stage stage, Observer<LayerInput, S> observer);

    /// The same beside what the original model's layers read, for passes that
    /// [compare][BlockPass#compares]; not for routed stages.
    @MustBeClosed
    <S> SumTree<LayerInput, S> observePairs(Stage stage, Observer<LayerInput, S> observer);

    /// Some of the calibration sequences before the block as it is now, to look at. The sequences
    /// themselves must not have been advanced.
    ///
    /// @param tokens as many whole sequences as that are, but one at least; not above
    ///   [BlockPass#sampleTokens]
    @MustBeClosed
    Sample sample(int tokens);

    /// The same, to [try weights on][Sample#stretch], which takes more memory.
    ///
    /// @param tokens not above [BlockPass#trialTokens]
    @MustBeClosed
    Sample trials(int tokens);

    /// Moves every calibration sequence through the stage with the weights it has now.
    void advance(Stage stage);

    /// Keeps what was found about one layer.
    void report(ModuleReport report);
}
