// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.Backend;
import io.llmc.backend.Op;
import io.llmc.formats.UserException;
import java.util.function.Predicate;

/// Whether a device, or training, can do all that a model is made of.
public final class Capability {
    private Capability() {}

    /// @throws UserException where the device has no kernel for an operation
    public static void requireOn(Backend backend, ModelSpec spec) {
        requireOn(backend.device(), backend::runs, spec);
    }

    /// @param runs whether a device has a kernel for an operation
    /// @throws UserException where it has none
    public static void requireOn(
            String device, Predicate<Class<? extends Op>> runs, ModelSpec spec) {
        requireOps(
                spec,
                runs,
                "has no kernel on " + device,
                "leave {device} out: the CPU has all of them");
    }

    /// @throws UserException where no gradient goes through an operation
    public static void requireGradients(ModelSpec spec) {
        requireOps(
                spec,
                op -> Tape.hasRule(op) || Tape.chooses(op),
                "has no gradient",
                "choose a method that trains nothing");
    }

    /// @throws UserException where a text cannot be cut back: what a layer keeps is of all of it
    public static void requireUndoing(ModelSpec spec) {
        require(
                spec,
                body -> body.states().isEmpty(),
                "cannot forget single tokens, which drafting wants",
                "choose models whose layers are all attention");
    }

    private static void requireOps(
            ModelSpec spec, Predicate<Class<? extends Op>> has, String lack, String remedy) {
        require(spec, body -> body.special().stream().allMatch(has), lack, remedy);
        for (LayerSpec layer : spec.layers()) {
            ManyStreamsSpec streams = layer.streams();
            if (streams != null && !streams.special().stream().allMatch(has)) {
                throw lacking(streams.role(), layer, lack, remedy);
            }
        }
    }

    private static void require(
            ModelSpec spec, Predicate<BodySpec> holds, String lack, String remedy) {
        for (LayerSpec layer : spec.layers()) {
            for (BodySpec body : layer.bodies().toList()) {
                if (!holds.test(body)) {
                    throw lacking(body.role(), layer, lack, remedy);
                }
            }
        }
    }

    private static UserException lacking(String role, LayerSpec layer, String lack, String remedy) {
        String at = layer.prefix().substring(0, layer.prefix().length() - 1);
        return new UserException("the %s of %s %s".formatted(role, at, lack), remedy);
    }
}
