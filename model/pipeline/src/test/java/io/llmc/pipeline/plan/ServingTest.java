// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.formats.UserException;
import io.llmc.model.arch.ModelDirectory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Rooflines against what docs/plan.md works out by hand, and what they must do whatever the model.
class ServingTest {
    private static final Offset<Double> CLOSE = within(1e-9);

    @TempDir private Path dir;

    private ModelCost model(String config) {
        try {
            Path file = Files.writeString(dir.resolve("config.json"), config);
            return ModelCost.of(ModelDirectory.outline(file));
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private static Roofline over(ModelCost model, Split split) {
        return new Roofline(new Serving(model, Configs.ALONE.over(split)), Configs.ROUND);
    }

    /// The example of docs/plan.md.
    @Test
    void oneRequestDecodesAsFastAsItsWeightsAndItsCacheAreRead() {
        ModelCost model = model(Configs.LLAMA_8B);
        // All weights but the embedding, of which a token reads a row; 4,097 tokens of cache.
        double bytes = 16_060_522_496.0 - 2 * 128_256 * 4096 + 4097 * 131_072;
        Roofline.Time time = over(model, Split.NONE).decode(1, 4096);
        assertThat(time.seconds()).isCloseTo(bytes / 1e12, CLOSE);
        assertThat(time.bound()).isEqualTo(Roofline.Bound.BANDWIDTH);
    }

    @Test
    void aPromptIsReadAsFastAsItsProductsAreMade() {
        ModelCost model = model(Configs.LLAMA_8B);
        double weights = 6_979_584.0 * 1000; // of the blocks' matrices
        double products = 2 * 2048 * weights / 100e12;
        double attention = 32 * 2.0 * 32 * 256 * (2048.0 * 2049 / 2) / 100e12;
        Roofline.Time time = over(model, Split.NONE).prefill(2048);
        assertThat(time.bound()).isEqualTo(Roofline.Bound.COMPUTE);
        assertThat(time.compute()).isCloseTo(products + attention, within(1e-4));
    }

    @Test
    void requestsThatFitFillWholePages() {
        Serving serving = new Serving(model(Configs.LLAMA_8B), Configs.ALONE);
        long page = 16 * 131_072;
        assertThat(serving.cache(16)).isEqualTo(page);
        assertThat(serving.cache(17)).isEqualTo(2 * page);
        long fit = serving.fits(Configs.ROUND, 4096);
        double used = serving.weights() + serving.activations((int) fit);
        assertThat(used + fit * serving.cache(4096)).isLessThanOrEqualTo(90e9);
        assertThat(
                        serving.weights()
                                + serving.activations((int) fit + 1)
                                + (fit + 1) * serving.cache(4096))
                .isGreaterThan(90e9);
    }

    /// A batch shares the weights; experts less so, since it reaches more of them.
    @Test
    void experts() {
        Roofline one = over(model(Configs.MIXTRAL), Split.NONE);
        double single = one.decode(1, 0).seconds();
        double eight = one.decode(8, 0).seconds();
        double many = one.decode(64, 0).seconds();
        assertThat(eight / single).isBetween(2.5, 4.0);
        assertThat(many / single).isBetween(3.4, 4.0);
    }

    @Test
    void tensorsAreSharedOutWithWhatTheirDevicesTellEachOther() {
        ModelCost model = model(Configs.LLAMA_8B);
        Roofline alone = over(model, Split.NONE);
        Roofline four = over(model, new Split(4, 1, 1));
        Roofline.Time time = four.decode(1, 1024);
        // Twice in each of 32 layers 4096 numbers of two bytes, three quarters of them twice.
        assertThat(time.link()).isCloseTo(32 * 2 * 2 * 0.75 * 4096 * 2 / 100e9, CLOSE);
        assertThat(time.memory())
                .isCloseTo(alone.decode(1, 1024).memory() / 4, within(2e-6)); // norms are not
        // More devices than heads with keys and values hold copies.
        Serving sixteen = new Serving(model, Configs.ALONE.over(new Split(16, 1, 1)));
        Serving eight = new Serving(model, Configs.ALONE.over(new Split(8, 1, 1)));
        assertThat(sixteen.cache(4096)).isEqualTo(eight.cache(4096));
    }

    /// One request waits for every stage; as many as there are stages keep all of them at work.
    @Test
    void aPipelineHelpsThosewhoAreSeveral() {
        ModelCost model = model(Configs.LLAMA_8B);
        Roofline alone = over(model, Split.NONE);
        Roofline four = over(model, new Split(1, 4, 1));
        assertThat(four.decodeRate(1, 0)).isLessThan(alone.decodeRate(1, 0));
        assertThat(four.decodeRate(4, 0) / four.decodeRate(1, 0)).isCloseTo(4, CLOSE);
        assertThat(four.serving().weights()).isLessThan(alone.serving().weights() / 3);
    }

    @Test
    void expertsAreSharedOut() {
        ModelCost model = model(Configs.MIXTRAL);
        Serving eight = new Serving(model, Configs.ALONE.over(new Split(1, 1, 8)));
        double experts = 2.0 * 32 * 8 * 3 * 4096 * 14_336;
        assertThat(eight.weights()).isCloseTo(model.bytes() - experts * 7 / 8, within(1.0));
    }

    @Test
    void splitsThatAModelDoesNotAllow() {
        ModelCost llama = model(Configs.LLAMA_8B);
        refused(llama, new Split(3, 1, 1), "3 does not divide the 32 heads", "1, 2, 4, 8, 16, 32");
        refused(llama, new Split(1, 33, 1), "33 is more than the 32 layers", "one at least");
        refused(llama, new Split(1, 1, 2), "a llama has no experts", "leave it out");
        ModelCost mixtral = model(Configs.MIXTRAL);
        refused(mixtral, new Split(1, 1, 3), "3 does not divide the 8 experts", "1, 2, 4, 8");
        assertThat(Split.of(4, llama))
                .isEqualTo(List.of(new Split(1, 4, 1), new Split(2, 2, 1), new Split(4, 1, 1)));
    }

    private static void refused(ModelCost model, Split split, String what, String hint) {
        assertThatThrownBy(() -> split.require(model))
                .isInstanceOfSatisfying(
                        UserException.class,
                        e -> {
                            assertThat(e.getMessage()).contains(what);
                            assertThat(e.hint()).contains(hint);
                        });
    }
}
