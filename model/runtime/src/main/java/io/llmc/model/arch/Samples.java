// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.HfConfig;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;

/// A small model of each `model_type`: what the structure of a family is, where there is none of
/// its models. The sizes are those of `samples.json`: some for all, and what a type wants besides.
public final class Samples {
    private static final Path FILE = Path.of("samples.json");

    private Samples() {}

    /// @param modelType that llmc knows
    public static HfConfig of(String modelType) {
        try (InputStream in = Samples.class.getResourceAsStream(FILE.toString())) {
            JsonNode all = new ObjectMapper().readTree(in);
            ObjectNode config = all.path("").deepCopy();
            config.setAll((ObjectNode) all.withObject("/" + modelType));
            return HfConfig.of(FILE, config.put("model_type", modelType));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
