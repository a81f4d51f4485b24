// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.backend.BackendOptions;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.Options;
import java.util.Arrays;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/// Mixin: where to compute, and with how much.
public final class DeviceOptions {
    @Option(
            names = "--device",
            paramLabel = "NAME",
            defaultValue = "auto",
            description =
                    "auto, cpu, cuda:0, or several as cuda:0,cuda:1: see llmc devices (default: ${DEFAULT-VALUE}).")
    private String device;

    @Option(
            names = "--threads",
            paramLabel = "N",
            converter = WorkersConverter.class,
            description = "Worker threads (default: one a processor). Results do not depend on it.")
    private Integer threads;

    @Option(
            names = "--math",
            paramLabel = "HOW",
            defaultValue = "auto",
            converter = MathConverter.class,
            description =
                    "Dense products: auto, onednn (CPU), cublas (GPU), portable (default: ${DEFAULT-VALUE})."
                            + " portable gives the same bytes on any CPU.")
    private BackendOptions.Math math;

    @Option(
            names = "--compute",
            paramLabel = "TYPE",
            defaultValue = "f32",
            converter = ComputeConverter.class,
            description =
                    "What activations are multiplied as: f32; bf16, which is faster on a GPU and on a CPU"
                            + " with instructions for it, and rounds them; or int8, which leaves 8-bit"
                            + " inputs of 8-bit weights integers, as vLLM does, rounds inputs of 4-bit"
                            + " weights to integers while a CPU decodes, and is f32 elsewhere"
                            + " (default: ${DEFAULT-VALUE}).")
    private BackendOptions.Compute compute;

    @Option(
            names = "--memory",
            paramLabel = "SIZE",
            converter = SizeConverter.class,
            description =
                    "Most memory to use outside the Java heap, as 800M or 6G, and most of a GPU's"
                            + " (default: no cap). Less memory takes longer and gives the same result.")
    private Long memory;

    public DeviceSpec toDeviceSpec() {
        int workers = threads == null ? Runtime.getRuntime().availableProcessors() : threads;
        return new DeviceSpec(
                device,
                new BackendOptions(
                        workers, math, memory == null ? Long.MAX_VALUE : memory, compute));
    }

    public record DeviceSpec(String device, BackendOptions options) {}

    static final class WorkersConverter implements ITypeConverter<Integer> {
        @Override
        public Integer convert(String text) {
            if (!text.matches("[1-9][0-9]{0,3}")) {
                throw new TypeConversionException(
                        "\"" + text + "\" is not a number of threads from 1 to 9999");
            }
            return Integer.valueOf(text);
        }
    }

    static final class ComputeConverter implements ITypeConverter<BackendOptions.Compute> {
        @Override
        public BackendOptions.Compute convert(String text) {
            return Arrays.stream(BackendOptions.Compute.values())
                    .filter(c -> Options.spelling(c).equals(text))
                    .findFirst()
                    .orElseThrow(() ->
                            new TypeConversionException(
                                    "expected f32, bf16 or int8, not \"" + text + "\""));
        }
    }

    static final class SizeConverter implements ITypeConverter<Long> {
        @Override
        public Long convert(String text) {
            try {
                return ByteSize.parse(text);
            } catch (IllegalArgumentException e) {
                throw new TypeConversionException(e.getMessage());
            }
        }
    }

    static final class MathConverter implements ITypeConverter<BackendOptions.Math> {
        @Override
        public BackendOptions.Math convert(String text) {
            return Arrays.stream(BackendOptions.Math.values())
                    .filter(m -> Options.spelling(m).equals(text))
                    .findFirst()
                    .orElseThrow(() ->
                            new TypeConversionException(
                                    "expected auto, onednn, cublas or portable, not \""
                                            + text
                                            + "\""));
        }
    }
}
