import BayesNetwork
import COneDNN

extension ActivationKernel {
  /// The native form of an activation, where there is one of the same meaning.
  init?(_ function: ActivationFunction) {
    switch function {
    case .relu(let ceiling, let negativeSlope, let threshold):
      guard threshold == 0 else { return nil }
      guard let ceiling else {
        self.init(algorithm: dnnl_eltwise_relu.rawValue, alpha: Float(negativeSlope))
        return
      }
      guard negativeSlope == 0 else { return nil }
      self.init(algorithm: dnnl_eltwise_clip_v2.rawValue, alpha: 0, beta: Float(ceiling))
    case .elu(let alpha): self.init(algorithm: dnnl_eltwise_elu.rawValue, alpha: Float(alpha))
    case .gelu: self.init(algorithm: dnnl_eltwise_gelu_erf.rawValue)
    case .geluTanh: self.init(algorithm: dnnl_eltwise_gelu_tanh.rawValue)
    case .sigmoid: self.init(algorithm: dnnl_eltwise_logistic.rawValue)
    case .tanh: self.init(algorithm: dnnl_eltwise_tanh.rawValue)
    case .softplus: self.init(algorithm: dnnl_eltwise_soft_relu.rawValue)
    case .swish: self.init(algorithm: dnnl_eltwise_swish.rawValue, alpha: 1)
    case .hardSwish: self.init(algorithm: dnnl_eltwise_hardswish.rawValue)
    case .exponential: self.init(algorithm: dnnl_eltwise_exp.rawValue)
    case .mish: self.init(algorithm: dnnl_eltwise_mish.rawValue)
    case .hardTanh: self.init(algorithm: dnnl_eltwise_clip_v2.rawValue, alpha: -1, beta: 1)
    case .linear, .selu, .hardSigmoid, .softsign, .logSigmoid, .squareplus, .tanhShrink, .softShrink, .hardShrink,
      .softmax, .logSoftmax:
      return nil
    }
  }
}
