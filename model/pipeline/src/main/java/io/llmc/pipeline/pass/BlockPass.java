// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.formats.Solver;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.Size;
import io.llmc.pipeline.SweepPlan;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Scheme;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// Compresses one decoder block at a time.
public non-sealed interface BlockPass extends Pass {
    /// Which of a block's linear layers it works on.
    Targets targets();

    /// What it is behind others of its sweep, which may have settled what nobody chose for it.
    default BlockPass behind(List<BlockPass> before) {
        return this;
    }

    /// How it quantizes a layer that it works on; empty where weights stay plain.
    default Optional<Scheme> scheme(LinearSpec linear) {
        return Optional.empty();
    }

    /// How it finds the codes of layers that it quantizes; empty where it quantizes none.
    default Optional<Solver> solver() {
        return Optional.empty();
    }

    /// How it rounds cached keys and values; empty where they stay as they are.
    default Optional<CacheScheme> cache() {
        return Optional.empty();
    }

    /// Whether it works on layers that a rounding pass before it has packed: it keeps their grids
    /// and their layout, and finds other codes and scales.
    default boolean refines() {
        return false;
    }

    /// Whether it compares with the original model, whose own sequences then travel beside: see
    /// [BlockScope#originals].
    default boolean compares() {
        return false;
    }

    /// Looks at a model before any work.
    ///
    /// @throws io.llmc.formats.UserException where it cannot be compressed in this way
    default void check(ModelSpec spec) {}

    /// The sizes that the model has after it; empty where none changes. A pass that changes some
    /// must call [BlockScope#reshape] in every block.
    ///
    /// @throws io.llmc.formats.UserException where the model cannot take these sizes
    default Map<Size, Integer> sizes(ModelSpec spec) {
        return Map.of();
    }

    /// Whether it only makes weights easier to round: then a pass behind it must round some of its
    /// layers, and [BlockScope#planned] says how.
    default boolean preparesRounding() {
        return false;
    }

    /// What a user should know before any work, in a sentence each.
    default List<String> notes(ModelSpec spec) {
        return List.of();
    }

    /// Whether it scales channels by [BlockScope#rescale]: then all weights of a block are written
    /// anew.
    default boolean rescales() {
        return false;
    }

    /// Calibration tokens that it wants every expert to see; 0 where it does not care.
    default long expertTokens() {
        return 0;
    }

    /// Whether it refuses to work on experts that see fewer.
    default boolean refusesRareExperts() {
        return false;
    }

    /// Bytes of the device that its work on one layer takes at most, beside the block's weights and
    /// what replaces them.
    long workBytes(long out, long in);

    /// The same where it depends on more than the layer's size.
    default long workBytes(SweepPlan.Module layer) {
        return workBytes(layer.out(), layer.in());
    }

    /// Bytes of the device that it keeps of the inputs of layers that share them, until it has
    /// worked on those layers.
    default long inputBytes(long in) {
        return 0;
    }

    /// The same where the width of the residual stream matters.
    default long inputBytes(long in, int hidden) {
        return inputBytes(in);
    }

    /// Experts of whose inputs it keeps something at once; the others wait for another look.
    default int expertsTogether() {
        return Integer.MAX_VALUE;
    }

    /// Bytes of the device that it takes while it is shown some inputs of a layer.
    default long tapBytes(long rows, long out) {
        return 0;
    }

    /// Tokens of the largest [BlockScope#sample] that it asks for; 0 where it asks for none.
    default int sampleTokens() {
        return 0;
    }

    /// Whether all calibration sequences must go through the blocks for it: not where samples of
    /// them are all that it looks at.
    default boolean wantsAllSequences() {
        return calibrates() && sampleTokens() == 0;
    }

    /// Tokens of the largest [BlockScope#trials] that it asks for, not above [#sampleTokens]; 0
    /// where it tries nothing.
    default int trialTokens() {
        return 0;
    }

    /// Bytes of the device that it takes for a block beside all of these, as for layers together.
    default long blockBytes(LayerSpec layer, int hidden) {
        return 0;
    }

    /// Bytes of the device that a refining pass takes for a whole block, beside its weights and
    /// what replaces them.
    ///
    /// @param block without bytes
    /// @param length tokens of a sequence
    default long refiningBytes(DecoderBlock block, int hidden, int length) {
        return 0;
    }

    /// Whether it wants to see every block as it is, before the first one is compressed.
    default boolean surveys() {
        return false;
    }

    /// One number about a block, for [BlockScope#survey]; must not change the block.
    default double survey(BlockScope scope) {
        throw new IllegalStateException(name() + " does not survey");
    }

    /// Observe, solve, replace: walks the block's stages in order.
    void apply(BlockScope scope);
}
