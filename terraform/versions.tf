# Everything used exists with the same meaning in provider 5.100 and 6: no removed argument, no data source whose
# attributes were renamed (the region is a variable for that reason).
terraform {
  required_version = ">= 1.9" # validations that read other variables

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}
